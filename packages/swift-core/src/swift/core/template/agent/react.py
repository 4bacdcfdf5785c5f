"""ReAct: Thought, Action, Action Input, Observation (Yao et al., 2022, arXiv 2210.03629)."""

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

_OPENING = re.compile(r"^Action:[ \t]*(\S.*?)[ \t]*\n+Action Input:[ \t]*", re.MULTILINE)
_STOP = re.compile(r"\s*Observation:[ \t]*\Z")


class ReAct(AgentFormat):
    """Works without any special token. Several calls of one turn follow each other, as do their results."""

    def system(self, tools: Sequence[Tool], system: str) -> str:
        """The tools as JSON lines and how an action is written, after what the system turn said."""
        names = ", ".join(function_of(tool)["name"] for tool in tools)
        lines = "\n".join(dumps(function_of(tool)) for tool in tools)
        usage = (
            f"You can use these tools:\n\n{lines}\n\nTo use one, write\n\n"
            f"Thought: what to do next\nAction: the tool, one of [{names}]\n"
            "Action Input: its arguments as a JSON object\n\n"
            "Each result comes back after the word Observation:. Use tools as often as needed; "
            "without an Action, what you write is the final answer."
        )
        return joined(system, usage, "\n\n")

    def calls(self, tool_calls: Sequence[ToolCall], content: str) -> str:
        """Two lines a call; what the assistant says before them is its thought."""
        blocks = [
            f"Action: {function['name']}\nAction Input: {dumps(function['arguments'])}"
            for function in map(function_of, tool_calls)
        ]
        return joined(content, "\n".join(blocks))

    def results(self, results: Sequence[Message]) -> Message:
        """An observation a result."""
        return user_turn("\n".join(f"Observation: {result['content']}" for result in results))

    def parse(self, text: str, tools: Sequence[Tool] | None = None) -> tuple[str, list[ToolCall]]:
        """Calls out of their lines."""
        return split_calls(text, _OPENING, _read)


def _read(text: str, match: re.Match[str]) -> tuple[list[ToolCall], int] | None:
    found = decode_object(text, match.end())
    if found is None:
        return None
    return [make_call(match[1], found[0])], skip(_STOP, text, found[1])
