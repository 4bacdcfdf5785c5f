"""Text of a request that can be written as UTF-8."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from swift.infer.surrogates import half_pair


def encodable(text: str) -> str:
    """The text itself.

    Raises:
        ValueError: half a surrogate pair, which JSON can escape and UTF-8 cannot write.
    """
    half = half_pair(text)
    if half is not None:
        raise ValueError(f"holds {half!r}, half of a surrogate pair: escape both halves, or none")
    return text


def printable(text: str) -> str:
    """The text with whatever UTF-8 cannot write as escapes, for errors that quote what was sent."""
    return text.encode(errors="backslashreplace").decode()


Text = Annotated[str, AfterValidator(encodable)]
Word = Annotated[str, Field(min_length=1), AfterValidator(encodable)]
