"""Messages of the API as chat templates read them."""

from __future__ import annotations

import json
from typing import Any

from swift.core.types import Message


def to_message(message: dict[str, Any], where: str) -> Message:
    """A message whose content is one text and whose tool calls hold their arguments as objects.

    Raises:
        ValueError: no role, no content, or content that is not text.
    """
    if not isinstance(message.get("role"), str):
        raise ValueError(f"{where} has no role")
    calls = message.get("tool_calls")
    content = message.get("content")
    if content is None and not (message["role"] == "assistant" and calls):
        raise ValueError(f"{where} has no content")
    known: Message = {**message, "content": _text(content, where)}
    if calls:
        if not isinstance(calls, list):
            raise _no_call(where)
        known["tool_calls"] = [_call(call, where) for call in calls]
    return known


def _text(content: Any, where: str) -> str:
    """A string as it is; text parts one behind the other."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ValueError(f"{where}.content is {_short(content)}, neither text nor a list of parts")
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError(
                f'{where}.content holds {_short(part)}: only {{"type": "text", "text": ...}} is read'
            )
    return "".join(part["text"] for part in content)


def _call(call: Any, where: str) -> dict[str, Any]:
    """Arguments arrive as JSON text; templates serialise them themselves."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _no_call(where)
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}.tool_calls: arguments are not valid JSON ({error})") from error
    return {**call, "function": {**function, "arguments": arguments}}


def _no_call(where: str) -> ValueError:
    return ValueError(f'{where}.tool_calls: write [{{"function": {{"name": ..., "arguments": "{{...}}"}}}}]')


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
