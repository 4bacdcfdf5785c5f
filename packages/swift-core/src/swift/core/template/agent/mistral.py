"""Mistral: [TOOL_CALLS] and a JSON list (tokenizers v3 and v7); parse() also reads [ARGS] (v11 and later)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from swift.core.template.agent.format import (
    AgentFormat,
    Tool,
    ToolCall,
    decode,
    decode_object,
    dumps,
    function_of,
    joined,
    make_call,
    split_calls,
    user_turn,
)
from swift.core.types import Message

_OPENING = re.compile(r"\[TOOL_CALLS\]\s*")
_NAMED = re.compile(r"([^\[\]{}\s]+)\s*(?:\[CALL_ID\]([^\[\]]*))?\[ARGS\]\s*")


class Mistral(AgentFormat):
    """The layout of the tekken tokenizers, without spaces after the marks.

    Mistral's own template puts the list of tools before the last user turn; here it follows the system text.
    """

    def system(self, tools: Sequence[Tool], system: str) -> str:
        """The tools as one JSON list."""
        return joined(system, f"[AVAILABLE_TOOLS]{dumps(list(tools))}[/AVAILABLE_TOOLS]", "\n\n")

    def calls(self, tool_calls: Sequence[ToolCall], content: str) -> str:
        """All calls as one JSON list."""
        return joined(content, f"[TOOL_CALLS]{dumps([_entry(call) for call in tool_calls])}", "")

    def results(self, results: Sequence[Message]) -> Message:
        """A JSON object a result."""
        return user_turn("".join(f"[TOOL_RESULTS]{dumps(_result(each))}[/TOOL_RESULTS]" for each in results))

    def parse(self, text: str, tools: Sequence[Tool] | None = None) -> tuple[str, list[ToolCall]]:
        """Calls out of the list, or a name and its arguments behind each mark."""
        return split_calls(text, _OPENING, _read)


def _entry(call: ToolCall) -> dict[str, Any]:
    function = function_of(call)
    entry = {"name": function["name"], "arguments": function["arguments"]}
    return {**entry, "id": call["id"]} if "id" in call else entry


def _result(message: Message) -> dict[str, Any]:
    result = {"content": message["content"]}
    return {**result, "call_id": message["tool_call_id"]} if "tool_call_id" in message else result


def _read(text: str, match: re.Match[str]) -> tuple[list[ToolCall], int] | None:
    named = _NAMED.match(text, match.end())
    if named is not None:
        arguments = decode_object(text, named.end())
        return ([make_call(named[1], arguments[0], named[2])], arguments[1]) if arguments else None
    found = decode(text, match.end())
    entries = found[0] if found is not None and isinstance(found[0], list) else []
    if found is None or not entries or not all(map(_is_call, entries)):
        return None
    return [make_call(entry["name"], entry["arguments"], entry.get("id")) for entry in entries], found[1]


def _is_call(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and isinstance(entry.get("arguments"), dict)
    )
