"""Messages as the different projects write them, to messages as OpenAI writes them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from swift.core.data.formats.cells import parse_json, shortened
from swift.core.data.formats.tools import call_from, check_result
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

LOSS_KEYS = ("loss", "loss_scale", "weight")
"""A turn's own weight in the loss; several multiply."""

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
            f"{origin}: the turns are {shortened(turns)}, not a non-empty list of messages",
            'write [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]',
        )
    messages: list[Message] = []
    for turn in turns:
        message = _message(turn, origin)
        if message["role"] == "tool_call":
            _append_calls(messages, message, origin)
        else:
            if message["role"] == "tool":
                check_result(messages, message, origin)
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
        f"{origin}: the turn {shortened(turn)} has the role {speaker!r}, "
        f"which is not one of {', '.join(ROLES)}",
        'each turn needs "role" and "content" (or "from" and "value")',
    )


def _normalised(turn: dict[str, Any], role: str, origin: str) -> Message:
    content = turn.get("content", turn.get("value"))
    if role == "tool" and not isinstance(content, str) and not _is_parts(content):
        content = "" if content is None else json.dumps(content, ensure_ascii=False)
    message: Message = {"role": role, "content": "" if content is None else content}
    if not isinstance(message["content"], str | list):
        raise DataError(
            f"{origin}: the content of a turn is {shortened(content)}", "it must be text or a list of parts"
        )
    for key in ("name", "tool_call_id", "reasoning_content"):
        if turn.get(key) is not None:
            message[key] = turn[key]
    if turn.get("tool_calls"):
        message["tool_calls"] = [call_from(call, origin) for call in turn["tool_calls"]]
    losses = [turn[key] for key in LOSS_KEYS if turn.get(key) is not None]
    if losses:
        message["loss"] = _loss(losses, origin)
    return message


def _loss(values: list[Any], origin: str) -> bool | float:
    """A turn's weight, the product of what its keys say; 0 and 1 as truth values."""
    for value in values:
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise DataError(
                f"{origin}: a turn has the loss (or weight) {shortened(value)}",
                "write true, false, or a finite number of at least 0",
            )
    product = float(math.prod(values))
    return bool(product) if product in (0, 1) else product


def _is_parts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)


def _append_calls(messages: list[Message], turn: Message, origin: str) -> None:
    """Consecutive function calls belong to one assistant turn, and to what it says right before them."""
    content = turn["content"]
    calls = parse_json(content, "function call", origin) if isinstance(content, str) else content
    parsed = [call_from(call, origin) for call in (calls if isinstance(calls, list) else [calls])]
    own = {"loss": turn["loss"]} if "loss" in turn else {}
    if messages and messages[-1]["role"] == "assistant":
        before = messages[-1]
        messages[-1] = {**before, **own, "tool_calls": [*before.get("tool_calls", ()), *parsed]}
    else:
        messages.append({"role": "assistant", "content": "", "tool_calls": parsed, **own})


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
