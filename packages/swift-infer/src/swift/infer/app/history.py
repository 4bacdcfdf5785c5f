"""Turns of the page as messages of the API."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swift.core.errors import DataError
from swift.core.types import Message

Part = dict[str, Any]


def to_messages(
    history: Sequence[Mapping[str, Any]], text: str, files: Sequence[str], system: str
) -> list[Message]:
    """The chat so far and the new turn, in the form of the API.

    Args:
        history: what gradio's chatbot holds: role and content, which is a text, a file, or a list of both.
        files: paths of the new turn's images.

    Raises:
        DataError: a file that is no image.
    """
    messages: list[Message] = [{"role": "system", "content": system}] if system.strip() else []
    for turn in history:
        add_turn(
            messages, str(turn["role"]), [part for item in _items(turn["content"]) for part in _parts(item)]
        )
    images = [image_part(Path(file)) for file in files]
    add_turn(messages, "user", [*images, *([text_part(text)] if text else [])])
    return messages


def add_turn(messages: list[Message], role: str, parts: list[Part]) -> None:
    """Append a turn; parts that gradio holds as several turns of one role become one."""
    if not parts:
        return
    if messages and messages[-1]["role"] == role != "system":
        parts = [*_content_parts(messages.pop()["content"]), *parts]
    words = all(part["type"] == "text" for part in parts)
    content: Any = "".join(part["text"] for part in parts) if words else parts
    messages.append({"role": role, "content": content})


def image_part(file: Path) -> Part:
    """An image as a data URL.

    Raises:
        DataError: its name is not that of an image.
    """
    kind = mimetypes.guess_type(file.name)[0] or ""
    if not kind.startswith("image/"):
        raise DataError(f"{file.name!r} is no image", "attach PNG, JPEG, WebP or GIF files")
    data = base64.b64encode(file.read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}}


def text_part(text: str) -> Part:
    """A text as a part of a message."""
    return {"type": "text", "text": text}


def _items(content: Any) -> list[Any]:
    return list(content) if isinstance(content, list | tuple) else [content]


def _parts(item: Any) -> list[Part]:
    """One item of gradio's content: a text, {"text": ...}, {"path": ...} or {"file": {"path": ...}}."""
    if isinstance(item, str):
        return [text_part(item)]
    if not isinstance(item, Mapping):
        return []
    if isinstance(item.get("text"), str):
        return [text_part(item["text"])]
    file = item.get("file", item)
    return [image_part(Path(file["path"]))] if isinstance(file, Mapping) and "path" in file else []


def _content_parts(content: Any) -> list[Part]:
    return [text_part(content)] if isinstance(content, str) else list(content)
