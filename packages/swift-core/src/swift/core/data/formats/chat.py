"""Layouts that come as lists of turns: OpenAI messages and ShareGPT conversations."""

from __future__ import annotations

from typing import Any

from swift.core.data.formats.turns import messages_from
from swift.core.types import Conversation


def openai(row: dict[str, Any], origin: str) -> Conversation:
    """messages: [{role, content, tool_calls?}, ...]."""
    return Conversation(messages=_with_system(row, "messages", origin))


def sharegpt(row: dict[str, Any], origin: str) -> Conversation:
    """conversations: [{from, value}, ...], with human, gpt, system, function_call and observation turns."""
    column = "conversations" if row.get("conversations") is not None else "conversation"
    return Conversation(messages=_with_system(row, column, origin))


def _with_system(row: dict[str, Any], column: str, origin: str) -> list[dict[str, Any]]:
    messages = messages_from(row[column], origin)
    if row.get("system") and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": row["system"]})
    return messages
