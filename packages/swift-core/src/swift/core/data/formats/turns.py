"""Messages as the different projects write them, to messages as OpenAI writes them."""

from __future__ import annotations

import json
import re
from typing import Any

from swift.core.errors import DataError
from swift.core.types import Message

ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "function_call": "tool_call",
    "tool_call": "tool_call",
    "tool": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "function_response": "tool",
    "function": "tool",
    "ipython": "tool",
}
"""What the projects call a speaker -> the role; "tool_call" becomes an assistant turn with tool_calls."""

PLAIN_ROLES = frozenset({"system", "user", "assistant"})
_TRANSCRIPT = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def messages_from(turns: Any, origin: str) -> list[Message]:
    """A list of turns, each {role, content} or {from, value}; one turn alone is a list of one.

    Raises:
        DataError: not turns, an unknown role, or a function call that is not JSON.
    """
    if isinstance(turns, dict):
        turns = [turns]
    if not isinstance(turns, list) or not turns:
        raise DataError(
            f"{origin}: the turns are {_short(turns)}, not a non-empty list of messages",
            'write [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]',
        )
    messages: list[Message] = []
    for turn in turns:
        message = _message(turn, origin)
        if message["role"] == "tool_call":
            _append_calls(messages, message["content"], origin)
        else:
            messages.append(message)
    return messages


def _message(turn: Any, origin: str) -> Message:
    if isinstance(turn, dict):
        # the common case costs one comparison: nothing to rename, nothing to add
        if len(turn) == 2 and turn.get("role") in PLAIN_ROLES and isinstance(turn.get("content"), str):
            return turn
        speaker = turn.get("role", turn.get("from"))
        role = ROLES.get(speaker.lower()) if isinstance(speaker, str) else None
        if role is not None:
            return _normalised(turn, role, origin)
    else:
        speaker = None
    raise DataError(
        f"{origin}: the turn {_short(turn)} has the role {speaker!r}, which is not one of {', '.join(ROLES)}",
        'each turn needs "role" and "content" (or "from" and "value")',
    )


def _normalised(turn: dict[str, Any], role: str, origin: str) -> Message:
    content = turn.get("content", turn.get("value"))
    message: Message = {"role": role, "content": "" if content is None else content}
    if not isinstance(message["content"], str | list):
        raise DataError(
            f"{origin}: the content of a turn is {_short(content)}", "it must be text or a list of parts"
        )
    for key in ("name", "tool_call_id", "reasoning_content"):
        if turn.get(key) is not None:
            message[key] = turn[key]
    if turn.get("tool_calls"):
        message["tool_calls"] = [_call(call, origin) for call in turn["tool_calls"]]
    loss = turn.get("loss", turn.get("weight"))
    if loss is not None:
        message["loss"] = bool(loss)
    return message


def _append_calls(messages: list[Message], content: Any, origin: str) -> None:
    """Consecutive function calls belong to one assistant turn."""
    calls = parse_json(content, "function call", origin) if isinstance(content, str) else content
    parsed = [_call(call, origin) for call in (calls if isinstance(calls, list) else [calls])]
    if messages and "tool_calls" in messages[-1]:
        messages[-1]["tool_calls"].extend(parsed)
    else:
        messages.append({"role": "assistant", "content": "", "tool_calls": parsed})


def _call(call: Any, origin: str) -> dict[str, Any]:
    """One tool call as OpenAI writes it, its arguments as an object (templates serialise them)."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise DataError(
            f"{origin}: the function call {_short(call)} has no name",
            'write {"name": ..., "arguments": {...}}',
        )
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = parse_json(arguments or "{}", "arguments of a function call", origin)
    result: dict[str, Any] = {
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments or {}},
    }
    if isinstance(call, dict) and call.get("id") is not None:
        result["id"] = call["id"]
    return result


def tools_from(value: Any, origin: str) -> list[dict[str, Any]] | None:
    """The tools column: JSON text or a list of schemas, with or without the {"type": "function"} wrapper."""
    if isinstance(value, str):
        value = parse_json(value, "tools column", origin) if value.strip() else None
    if not value:
        return None
    tools = value if isinstance(value, list) else [value]
    if not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"{origin}: the tools are {_short(value)}", "write a list of JSON schemas")
    return [tool if "function" in tool else {"type": "function", "function": tool} for tool in tools]


def transcript(text: str) -> list[Message] | None:
    r"""Turns of a "\n\nHuman: ...\n\nAssistant: ..." text, or None when it is not one."""
    pieces = _TRANSCRIPT.split(text)
    if len(pieces) < 3 or pieces[0].strip():
        return None
    speakers = zip(pieces[1::2], pieces[2::2], strict=True)
    return [
        {"role": "user" if speaker == "Human" else "assistant", "content": said.strip()}
        for speaker, said in speakers
    ]


def parse_json(text: str, what: str, origin: str) -> Any:
    """JSON inside a cell.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        problem = f"{origin}: the {what} {_short(text)} is not JSON: {error}"
        raise DataError(problem, "correct the row") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
