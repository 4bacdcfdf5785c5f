"""Framed messages between a run and a plugin's process: JSON in both directions, never pickle.

A frame is a header (the length of its body in 4 bytes, the number of its call in 8) and a JSON object, or in
the place of {"value": number, "dtype": name}, the most frequent answer, "=" with 8 bytes of each. The other
side may be hostile: what does not parse ends the conversation.
"""

from __future__ import annotations

import json
import struct
from typing import Any

Message = dict[str, Any]

HEADER = struct.Struct("<IQ")
PIECE = 1 << 18  # bytes that are read at once
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_EQUALS = b"="
_NUMBER = struct.Struct("<cd8s")


class ChannelError(Exception):
    """The other side closed the channel or does not keep to the protocol."""


class ChannelClosed(ChannelError):
    """The other side is gone."""


def encode(number: int, message: Message | bytes) -> bytes:
    """One frame; a body that is sent again and again is given as it is.

    Raises:
        TypeError, ValueError: the message is not JSON.
    """
    body = message if isinstance(message, bytes) else body_of(message)
    return HEADER.pack(len(body), number) + body


def body_of(message: Message) -> bytes:
    """What a frame holds.

    Raises:
        TypeError, ValueError: the message is not JSON.
    """
    return _ENCODER.encode(message).encode()


def number_body(value: float, dtype: str) -> bytes:
    """The body that stands for {"value": value, "dtype": dtype}."""
    return _NUMBER.pack(_EQUALS, value, dtype.encode())


def decode(body: bytes | bytearray) -> Message:
    """The object in a frame's body.

    Raises:
        ChannelError: it is neither a JSON object nor a number.
    """
    if len(body) == _NUMBER.size and body[:1] == _EQUALS:
        _, value, dtype = _NUMBER.unpack(body)
        return {"value": value, "dtype": dtype.rstrip(b"\0").decode("ascii", "replace")}
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ChannelError(f"a message that is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise ChannelError(f"a message that is a {type(message).__name__} and not an object")
    return message


class FrameReader:
    """Puts frames together from the pieces that arrive."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pending = bytearray()

    def take(self, piece: bytes | memoryview) -> tuple[int, bytes] | None:
        """(number, body) once a frame is complete.

        Raises:
            ChannelError: it is longer than the limit.
        """
        data: bytes | bytearray | memoryview = piece
        if self._pending:
            self._pending += piece
            data = self._pending
        if len(data) >= HEADER.size:
            length, number = HEADER.unpack_from(data)
            if length > self.limit:
                raise ChannelError(f"a message of {length:,} bytes, more than {self.limit:,}")
            end = HEADER.size + length
            if len(data) >= end:
                body = bytes(data[HEADER.size : end])
                if self._pending or len(data) > end:
                    self._pending = bytearray(data[end:])
                return number, body
        if data is piece:
            self._pending = bytearray(piece)
        return None

    def rest(self) -> tuple[int, bytes] | None:
        """take() of what came together with the frame before."""
        return self.take(b"") if self._pending else None
