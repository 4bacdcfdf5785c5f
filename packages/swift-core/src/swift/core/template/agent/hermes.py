"""Hermes: <tool_call> around one JSON object a call (NousResearch Hermes 2 Pro, Qwen2.5, Qwen3)."""

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

_OFFER = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
)
_USAGE = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, '
    '"arguments": <args-json-object>}\n</tool_call>'
)
_OPENING = re.compile(r"<tool_call>\s*")
_CLOSING = re.compile(r"\s*</tool_call>")


class Hermes(AgentFormat):
    """The wording is that of the Qwen2.5 chat template, and gives its text exactly."""

    def system(self, tools: Sequence[Tool], system: str) -> str:
        """The tools as JSON lines, after what the system turn said."""
        return joined(system, _OFFER + "\n".join(map(dumps, tools)) + _USAGE, "\n\n")

    def calls(self, tool_calls: Sequence[ToolCall], content: str) -> str:
        """A block a call."""
        return joined(content, "\n".join(map(_block, tool_calls)))

    def results(self, results: Sequence[Message]) -> Message:
        """A block a result."""
        blocks = [f"<tool_response>\n{result['content']}\n</tool_response>" for result in results]
        return user_turn("\n".join(blocks))

    def parse(self, text: str, tools: Sequence[Tool] | None = None) -> tuple[str, list[ToolCall]]:
        """Calls out of their blocks."""
        return split_calls(text, _OPENING, _read)


def _block(call: ToolCall) -> str:
    function = function_of(call)
    return (
        f'<tool_call>\n{{"name": {dumps(function["name"])}, "arguments": {dumps(function["arguments"])}}}\n'
        "</tool_call>"
    )


def _read(text: str, match: re.Match[str]) -> tuple[list[ToolCall], int] | None:
    found = decode_object(text, match.end())
    if found is None or not isinstance(found[0].get("name"), str):
        return None
    call, end = found
    arguments = call.get("arguments", {})
    if not isinstance(arguments, dict):
        return None
    return [make_call(call["name"], arguments)], skip(_CLOSING, text, end)
