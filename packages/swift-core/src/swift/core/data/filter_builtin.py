"""Filters that most data sets need: by length, by pattern, without duplicates."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Literal

from swift.core.errors import ConfigError

SPEAKERS = frozenset({"role", "from", "type"})
"""Keys of a turn that hold no text of it."""


def text_of(row: dict[str, Any], column: str | None = None) -> str:
    """All text of a row, or of one column, the contents of its turns included.

    Raises:
        KeyError: the row has no such column.
    """
    return "\n".join(_texts(row if column is None else row[column]))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in SPEAKERS:
                yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


class LengthFilter:
    """Keeps rows of a length, in characters.

    Args:
        min, max: shortest and longest text that stays; None for no limit.
        column: whose text counts; None for the whole row's.

    Raises:
        ConfigError: no limit at all, or a shortest text longer than the longest.
    """

    def __init__(self, min: int | None = None, max: int | None = None, column: str | None = None) -> None:
        if (min is None and max is None) or (min is not None and max is not None and min > max):
            raise ConfigError(
                f"filter 'length' has min={min} and max={max}",
                "give at least one of them, in characters, min <= max",
            )
        self.min = 0 if min is None else min
        self.max = max
        self.column = column

    def __call__(self, row: dict[str, Any]) -> bool:
        """Whether the row stays."""
        length = len(text_of(row, self.column))
        return length >= self.min and (self.max is None or length <= self.max)


class RegexFilter:
    """Keeps, or drops, rows in whose text a regular expression is found.

    Args:
        pattern: as Python's re.search takes it.
        action: what happens to rows with a match.
        column: whose text is searched; None for the whole row's.

    Raises:
        ConfigError: the pattern is none.
    """

    def __init__(
        self, pattern: str, action: Literal["keep", "drop"] = "drop", column: str | None = None
    ) -> None:
        if action not in ("keep", "drop"):
            raise ConfigError(f"filter 'regex' has action={action!r}", "write keep or drop")
        try:
            self.pattern = re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"filter 'regex' has the pattern {pattern!r}, which is not one: {error}", "correct it"
            ) from None
        self.keep = action == "keep"
        self.column = column

    def __call__(self, row: dict[str, Any]) -> bool:
        """Whether the row stays."""
        return (self.pattern.search(text_of(row, self.column)) is not None) == self.keep


class DeduplicateFilter:
    """Keeps the first of the rows of one data set whose texts differ only in case, width or white space.

    Args:
        column: whose text is compared; None for the whole row's.
    """

    def __init__(self, column: str | None = None) -> None:
        self.column = column
        self.seen: set[bytes] = set()

    def __call__(self, row: dict[str, Any]) -> bool:
        """Whether the row stays."""
        plain = " ".join(unicodedata.normalize("NFKC", text_of(row, self.column)).casefold().split())
        digest = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in self.seen:
            return False
        self.seen.add(digest)
        return True
