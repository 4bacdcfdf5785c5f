"""Text from tokens while they come: complete characters only, nothing beyond a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

REPLACEMENT = "\ufffd"  # how decoders show bytes that are no character (yet)
PATIENCE = 16  # tokens after which bytes without a character are taken for garbage: a character has at most 4

Decode = Callable[[Sequence[int]], str]


def decoder(tokenizer: Any) -> Decode:
    """The quickest way to turn ids of a transformers tokenizer into text without special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or getattr(tokenizer, "clean_up_tokenization_spaces", False):
        return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))
    return lambda ids: str(backend.decode(list(ids), skip_special_tokens=True))


class Detokenizer:
    """Text of one answer, piece by piece.

    Only the tokens since the last whole characters are decoded again, with the piece before them for context:
    some tokenizers write a token differently at the start of a text.

    Args:
        decode: ids to text.
        stop: strings that end the text.
    """

    def __init__(self, decode: Decode, stop: Sequence[str] = ()) -> None:
        self._decode = decode
        self._stop = stop
        self._ids: list[int] = []  # context, then what has no text yet
        self._context = 0
        self._held = ""  # text that may be the start of a stop string
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; the text that is certain now. Sets stopped when a stop string is complete."""
        self._ids.append(token)
        known = self._decode(self._ids[: self._context])
        text = self._decode(self._ids)
        if text.endswith(REPLACEMENT) and len(self._ids) - self._context < PATIENCE:
            return ""
        if len(text) <= len(known):
            return ""
        self._ids = self._ids[self._context :]
        self._context = len(self._ids)
        return self._release(text[len(known) :])

    def finish(self) -> str:
        """What is left at the end, without the bytes of an unfinished character."""
        if self.stopped:
            return ""
        known = self._decode(self._ids[: self._context])
        rest = (
            self._decode(self._ids)[len(known) :].rstrip(REPLACEMENT)
            if len(self._ids) > self._context
            else ""
        )
        text = self._release(rest) if rest else ""
        text += self._held
        self._held = ""
        return text

    def _release(self, new: str) -> str:
        text = self._held + new
        self._held = ""
        found = [position for stop in self._stop if (position := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        if keep:
            text, self._held = text[:-keep], text[-keep:]
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of text that starts a stop string."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
