"""Tool calls in text, in the Hermes format: <tool_call>{"name": ..., "arguments": {...}}</tool_call>."""

from __future__ import annotations

import json
import uuid
from typing import Any

START, END = "<tool_call>", "</tool_call>"


class ToolCallParser:
    """Splits a stream of text into what a person reads and the calls that follow it."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, text: str) -> str:
        """Add text; the part that is certainly no call."""
        self._held += text
        at = self._held.find(START)
        if at < 0:
            at = len(self._held) - _overlap(self._held)
        shown, self._held = self._held[:at], self._held[at:]
        return shown

    def finish(self) -> tuple[str, list[dict[str, Any]]]:
        """(text left over, calls); a call that is not valid JSON stays text."""
        calls, rest = [], ""
        for part in self._held.split(START)[1:] if START in self._held else []:
            body, _, after = part.partition(END)
            call = _call(body)
            rest += after.strip() if call else START + part
            if call:
                calls.append(call)
        if START not in self._held:
            rest = self._held
        self._held = ""
        return rest, calls


def _call(body: str) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except json.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    function = {"name": value["name"], "arguments": text}
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def _overlap(text: str) -> int:
    return next(
        (size for size in range(min(len(text), len(START) - 1), 0, -1) if START.startswith(text[-size:])), 0
    )
