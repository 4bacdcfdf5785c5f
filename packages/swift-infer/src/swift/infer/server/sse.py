"""Server-sent events of one stream; what stays the same from piece to piece is written once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any

EMPTY = b'"choices":[]'


class EventWriter:
    """Writes the pieces of one answer.

    A piece that holds text only, which nearly all are, costs one joining of bytes: a server that streams
    thousands of tokens a second has no time for a model per token.

    Args:
        frame: the object that every piece is, its choices empty.
        text: (what stands before, what stands behind) the text of such a piece in its choice, as JSON.
    """

    def __init__(self, frame: Mapping[str, Any], text: tuple[str, str]) -> None:
        self._head, _, self._tail = _dumped(frame).partition(EMPTY)
        self._before, self._after = (part.encode() for part in text)
        self._starts: dict[int, bytes] = {}
        self._end = self._after + b"}]" + self._tail + b"\n\n"

    def text(self, index: int, text: str) -> bytes:
        """The event of a piece of text of one choice."""
        start = self._starts.get(index)
        if start is None:
            start = b'data: %b"choices":[{"index":%d,%b' % (self._head, index, self._before)
            self._starts[index] = start
        return start + encode_basestring_ascii(text).encode() + self._end

    def choice(self, choice: Mapping[str, Any]) -> bytes:
        """The event of any piece of one choice."""
        return self.choices([choice])

    def choices(self, choices: Sequence[Mapping[str, Any]], **more: Any) -> bytes:
        """The event of pieces of several choices, and what else stands beside them."""
        inner = b"".join(b',"%b":%b' % (key.encode(), _dumped(value)) for key, value in more.items())
        return b'data: %b"choices":%b%b%b\n\n' % (self._head, _dumped(choices), inner, self._tail)

    def usage(self, usage: Mapping[str, Any]) -> bytes:
        """The event that holds the token counts."""
        return b'data: %b"choices":[],"usage":%b%b\n\n' % (self._head, _dumped(usage), self._tail)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
