"""Halves of surrogate pairs: JSON can escape one, UTF-8 cannot write it."""

from __future__ import annotations


def half_pair(text: str) -> str | None:
    """The first half of a pair that stands alone in a text; None where UTF-8 can write all of it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return text[error.start]
    return None
