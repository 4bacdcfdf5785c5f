"""Text as words are compared in: compatibility forms and case made equal, invisible characters left out.

Every character is folded by itself (NFKD, case folding, NFKD), so that any way of cutting a text gives the
same folded text, and each folded character knows the one it comes from.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence

CJK = (
    (0x2E80, 0x31FF),  # radicals, kana, bopomofo, compatibility jamo
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA960, 0xA97F),
    (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF),
    (0x1100, 0x11FF),  # jamo, into which Hangul is decomposed
    (0x20000, 0x3FFFF),
)
"""Scripts that put no space between words."""


def fold(text: str) -> tuple[str, Sequence[int]]:
    """(folded text, for each of its characters the place in text that it comes from)."""
    if text.isascii():
        return text.lower(), range(len(text))
    pieces, sources = [], []
    for place, character in enumerate(text):
        folded = _folded(character)
        pieces.append(folded)
        sources += [place] * len(folded)
    return "".join(pieces), sources


@functools.lru_cache(maxsize=65536)
def _folded(character: str) -> str:
    if unicodedata.category(character) == "Cf":  # zero-width characters, soft hyphens, marks of direction
        return ""
    lowered = unicodedata.normalize("NFKD", character).casefold()
    return unicodedata.normalize("NFKD", lowered)


def joins(character: str) -> bool:
    """Whether a folded character is part of a word that spaces delimit."""
    return (character.isalnum() or character == "_") and not _is_cjk(character)


def is_mark(character: str) -> bool:
    """Whether a folded character belongs to the one before it (an accent)."""
    return unicodedata.category(character).startswith("M")


def _is_cjk(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in CJK)
