"""Qwen: the commands of Qwen-Agent's own prompt (Qwen2 and before; later models use hermes)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from swift.core.template.agent.format import (
    AgentFormat,
    Tool,
    ToolCall,
    decode_object,
    dumps,
    function_of,
    joined,
    make_call,
    skip,
    split_calls,
    user_turn,
)
from swift.core.types import Message

_USAGE = (
    "\n\n## When you need to call a tool, please insert the following command in your reply, which can be "
    "called zero or multiple times according to your needs:\n\n"
    "✿FUNCTION✿: The tool to use, should be one of [{names}]\n✿ARGS✿: The input of the tool\n"
    "✿RESULT✿: Tool results\n✿RETURN✿: Reply based on tool results. "
    "Images need to be rendered as ![](url)"
)
_OPENING = re.compile(r"✿FUNCTION✿:[ \t]*(\S.*?)[ \t]*\n✿ARGS✿:\s*")
_STOP = re.compile(r"\s*✿RESULT✿:?\s*\Z")


class Qwen(AgentFormat):
    """The wording is Qwen-Agent's English one.

    Qwen-Agent goes on in the assistant's turn after the results; here they are a turn of their own, which
    ends with the word that asks for the reply.
    """

    def system(self, tools: Sequence[Tool], system: str) -> str:
        """A section for each tool, then the commands."""
        functions = [function_of(tool) for tool in tools]
        names = ",".join(function["name"] for function in functions)
        sections = "\n\n".join(
            f"### {function['name']}\n\n{function['name']}: {function.get('description', '')} "
            f"Parameters: {dumps(function.get('parameters', {}))} Format the arguments as a JSON object."
            for function in functions
        )
        offer = "# Tools\n\n## You have access to the following tools:\n\n" + sections
        return joined(system, offer + _USAGE.format(names=names), "\n\n")

    def calls(self, tool_calls: Sequence[ToolCall], content: str) -> str:
        """Two lines a call."""
        blocks = [
            f"✿FUNCTION✿: {function['name']}\n✿ARGS✿: {dumps(function['arguments'])}"
            for function in map(function_of, tool_calls)
        ]
        return joined(content, "\n".join(blocks))

    def results(self, results: Sequence[Message]) -> Message:
        """A line a result, then the word that asks for the reply."""
        lines = [f"✿RESULT✿: {result['content']}" for result in results]
        return user_turn("\n".join([*lines, "✿RETURN✿:"]))

    def parse(self, text: str, tools: Sequence[Tool] | None = None) -> tuple[str, list[ToolCall]]:
        """Calls out of their lines."""
        return split_calls(text, _OPENING, _read)


def _read(text: str, match: re.Match[str]) -> tuple[list[ToolCall], int] | None:
    found = decode_object(text, match.end())
    if found is None:
        return None
    return [make_call(match[1], found[0])], skip(_STOP, text, found[1])
