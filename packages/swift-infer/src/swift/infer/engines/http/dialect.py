"""What differs between the APIs: how a request is written, and how its events are read."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Protocol

from swift.core.types import FinishReason, GenerationRequest, SamplingParams, TokenDelta

FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "stop",
    "function_call": "stop",
    "abort": "abort",
    "content_filter": "abort",
    "error": "error",
}


class Unsupported(Exception):
    """A request that this API cannot honour; the message names value, rule and remedy."""


class Reader(Protocol):
    """Reads the events of one answer."""

    done: bool = False
    """Whether the answer is complete although more events may come."""

    def read(self, event: dict[str, Any]) -> TokenDelta | None:
        """What an event adds; without a finish reason, which only end() gives."""
        ...

    def end(self) -> TokenDelta | None:
        """The last delta; None when the answer has not come to its end."""
        ...


class Dialect(Protocol):
    """One API."""

    def written(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """(path, JSON body) of a request.

        Raises:
            Unsupported: the API cannot honour it.
        """
        ...

    def reader(self, request: GenerationRequest) -> Reader:
        """A reader for the events of its answer."""
        ...


def refuse(request: GenerationRequest, keys: Iterable[str], why: str) -> None:
    """Refuse sampling parameters that an API does not have; those at their neutral value ask for nothing.

    Raises:
        Unsupported: one of them is set.
    """
    neutral = SamplingParams()
    for key in keys:
        value = getattr(request.sampling, key)
        if value != getattr(neutral, key):
            raise Unsupported(f"{key} {value!r} cannot be honoured: {why}")


def data_url(image: bytes) -> str:
    """An image as OpenAI's API takes it."""
    return f"data:{_media_type(image)};base64,{base64.b64encode(image).decode()}"


def _media_type(image: bytes) -> str:
    starts = {b"\xff\xd8": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp", b"BM": "image/bmp"}
    return next((kind for start, kind in starts.items() if image.startswith(start)), "image/png")
