"""DeepSeek: calls between special tokens, as V3.1 writes them; parse() also reads V3 and R1."""

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

# the bars are U+FF5C and the word breaks U+2581: the model's special tokens are written so
_BEGIN, _END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"  # noqa: RUF001
_CALL, _AFTER_CALL = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"  # noqa: RUF001
_NAMED = "<｜tool▁sep｜>"  # noqa: RUF001
_RESULT, _AFTER_RESULT = "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"  # noqa: RUF001

_USAGE = (
    f"\n\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n{_BEGIN}{_CALL}tool_call_name{_NAMED}"
    f"tool_call_arguments{_AFTER_CALL}{{additional_tool_calls}}{_END}\n\nWhere:\n"
    "- `tool_call_name` must be an exact match to one of the available tools\n"
    "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
    "- For multiple tool calls, chain them directly without separators or spaces"
)
_OPENING = re.compile(
    rf"(?:{_BEGIN})?\s*{_CALL}(?:function{_NAMED}(?P<old>[^\n<]+)\n```json\n|(?P<name>[^<]+){_NAMED})\s*"
)
_CLOSING = re.compile(rf"\s*(?:```)?\s*{_AFTER_CALL}(?:\s*{_END})?")


class DeepSeek(AgentFormat):
    """The wording is that of the DeepSeek V3.1 chat template."""

    def system(self, tools: Sequence[Tool], system: str) -> str:
        """A section for each tool and how a call is written, after what the system turn said."""
        sections = "\n\n".join(
            f"### {function['name']}\nDescription: {function.get('description', '')}\n\n"
            f"Parameters: {dumps(function.get('parameters', {}))}"
            for function in map(function_of, tools)
        )
        offer = f"## Tools\nYou have access to the following tools:\n\n{sections}{_USAGE}"
        return joined(system, offer, "\n\n")

    def calls(self, tool_calls: Sequence[ToolCall], content: str) -> str:
        """All calls, one directly behind the other."""
        blocks = [
            f"{_CALL}{function['name']}{_NAMED}{dumps(function['arguments'])}{_AFTER_CALL}"
            for function in map(function_of, tool_calls)
        ]
        return joined(content, f"{_BEGIN}{''.join(blocks)}{_END}", "")

    def results(self, results: Sequence[Message]) -> Message:
        """Each result between its tokens."""
        return user_turn("".join(f"{_RESULT}{result['content']}{_AFTER_RESULT}" for result in results))

    def parse(self, text: str, tools: Sequence[Tool] | None = None) -> tuple[str, list[ToolCall]]:
        """Calls out of their tokens."""
        return split_calls(text, _OPENING, _read)


def _read(text: str, match: re.Match[str]) -> tuple[list[ToolCall], int] | None:
    found = decode_object(text, match.end())
    if found is None:
        return None
    name = (match["old"] or match["name"]).strip()
    return [make_call(name, found[0])], skip(_CLOSING, text, found[1])
