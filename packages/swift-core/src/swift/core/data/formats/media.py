"""Placeholders in the text and the files they stand for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from swift.core.errors import DataError
from swift.core.types import Conversation, Message

KINDS = {"image": "images", "video": "videos", "audio": "audios"}
_PLACEHOLDER = re.compile(r"<(image|video|audio)>")


def attach_media(conversation: Conversation, row: dict[str, Any], folder: Path | None) -> None:
    """Fill images, videos and audios, and turn their placeholders into content parts, in place.

    Raises:
        DataError: a kind has not as many placeholders as files.
    """
    for kind, column in KINDS.items():
        value = row.get(column, row.get(kind))
        if value is None:
            continue
        items = value if isinstance(value, list) else [value]
        setattr(conversation, column, [_resolve(item, folder) for item in items])
    present = {kind for kind, column in KINDS.items() if getattr(conversation, column)}
    if not present:
        return
    for turns in (conversation.messages, conversation.rejected):
        if turns:
            turns[:] = [_with_parts(message, present) for message in turns]
            _check_counts(conversation, turns)


def _resolve(item: Any, folder: Path | None) -> Any:
    """A relative path starts at the data file's folder; URLs, data URIs and raw values stay."""
    if not isinstance(item, str) or folder is None or "://" in item or item.startswith("data:"):
        return item
    return str(folder / Path(item).expanduser())


def _with_parts(message: Message, kinds: set[str]) -> Message:
    content = message["content"]
    if not isinstance(content, str) or "<" not in content:
        return message
    parts: list[dict[str, Any]] = []
    text, start = "", 0
    for match in _PLACEHOLDER.finditer(content):
        if match[1] not in kinds:
            continue
        text += content[start : match.start()]
        start = match.end()
        if text:
            parts.append({"type": "text", "text": text})
            text = ""
        parts.append({"type": match[1]})
    if not parts:
        return message
    if content[start:]:
        parts.append({"type": "text", "text": content[start:]})
    return {**message, "content": parts}


def _check_counts(conversation: Conversation, turns: list[Message]) -> None:
    for kind, column in KINDS.items():
        files = len(getattr(conversation, column))
        marks = sum(
            1
            for message in turns
            if isinstance(message["content"], list)
            for part in message["content"]
            if str(part.get("type", "")).startswith(kind)
        )
        if marks != files:
            raise DataError(
                f"{conversation.origin}: {marks} <{kind}> placeholders, but {files} {column}",
                f"write one <{kind}> in the text for each entry of {column!r}",
            )
