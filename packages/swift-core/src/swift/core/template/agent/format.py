"""What an agent format is: how tools, calls and results stand in the text of a conversation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from swift.core.types import Message

Tool = dict[str, Any]
"""A tool as OpenAI writes it: {"type": "function", "function": {name, description, parameters}}."""

ToolCall = dict[str, Any]
"""A call as OpenAI writes it, its arguments as an object: {"type": "function", "function": {...}, "id"?}."""


@runtime_checkable
class AgentFormat(Protocol):
    """Both directions of one format.

    calls() and parse() are inverse: parse(calls(tool_calls, content)) gives content and tool_calls back, if
    content has no white space at its ends and does not itself look like a call.
    """

    def system(self, tools: Sequence[Tool], system: str) -> str:
        """The system turn that offers these tools, around what the system turn said before (or "")."""
        ...

    def calls(self, tool_calls: Sequence[ToolCall], content: str) -> str:
        """An assistant's turn: what it says (or ""), and its calls."""
        ...

    def results(self, results: Sequence[Message]) -> Message:
        """One turn that gives the results of one turn's calls, in the order of the calls.

        Args:
            results: messages of role tool: content, and tool_call_id and name where they are known.
        """
        ...

    def parse(self, text: str, tools: Sequence[Tool] | None = None) -> tuple[str, list[ToolCall]]:
        """An answer to content and calls; a call that cannot be read stays in the content.

        Args:
            tools: what was offered; formats that write values without their type read it there.
        """
        ...


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON as chat templates write it (transformers' tojson): letters of all languages as they are."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def function_of(item: Tool | ToolCall) -> dict[str, Any]:
    """The function of a tool or call, with or without its {"type": "function"} wrapper."""
    function = item.get("function", item)
    assert isinstance(function, dict)  # data.formats checks rows
    return function


def make_call(name: str, arguments: dict[str, Any], number: str | None = None) -> ToolCall:
    """A call as OpenAI writes it."""
    call: ToolCall = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return call if number is None else {**call, "id": number}


def joined(first: str, second: str, between: str = "\n") -> str:
    """Both texts, or the one that is not empty."""
    return f"{first}{between}{second}" if first and second else first or second


def user_turn(text: str) -> Message:
    """Results as a turn that every chat template knows."""
    return {"role": "user", "content": text}


def decode(text: str, start: int) -> tuple[Any, int] | None:
    """The JSON value that starts there and where it ends, or None where none does."""
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return None


def decode_object(text: str, start: int) -> tuple[dict[str, Any], int] | None:
    """decode() of an object."""
    found = decode(text, start)
    return found if found is not None and isinstance(found[0], dict) else None


def skip(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Behind the pattern if it stands there, else start."""
    match = pattern.match(text, start)
    return match.end() if match else start


Reader = Callable[[str, re.Match[str]], "tuple[list[ToolCall], int] | None"]
"""(text, match of the opening) -> calls and where they end, or None where they cannot be read."""


def split_calls(text: str, opening: re.Pattern[str], read: Reader) -> tuple[str, list[ToolCall]]:
    """Take the calls out of a text; without any the text stays as it is."""
    calls: list[ToolCall] = []
    kept: list[str] = []
    position = 0
    for match in opening.finditer(text):
        found = read(text, match) if match.start() >= position else None
        if found is None:
            continue
        kept.append(text[position : match.start()])
        calls += found[0]
        position = found[1]
    if not calls:
        return text, []
    return "".join([*kept, text[position:]]).strip(), calls
