"""What becomes of a sample that is longer than the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swift.core.template.tokens import Tokens
from swift.core.types import IGNORE_INDEX

Truncation = Literal["right", "left", "delete", "split"]


@dataclass(slots=True)
class EncodeStatistics:
    """What encode() did so far.

    Attributes:
        rows: conversations given.
        dropped: rows without any sample: too long, or nothing left to learn.
        truncated: samples that lost tokens, or were cut into several.
        longest: most tokens of one sample before truncation.
        shortest_dropped: fewest tokens of a dropped row, or 0.
    """

    rows: int = 0
    dropped: int = 0
    truncated: int = 0
    longest: int = 0
    shortest_dropped: int = 0

    def drop(self, length: int) -> None:
        """Count a row that gives no sample."""
        self.dropped += 1
        self.shortest_dropped = min(self.shortest_dropped or length, length)


def fit(tokens: Tokens, max_length: int, truncation: Truncation) -> list[Tokens]:
    """Samples of at most max_length tokens: none, one, or (split) several."""
    length = len(tokens[0])
    if length <= max_length:
        return [tokens]
    if truncation == "delete":
        return []
    if truncation == "right":
        return [_cut(tokens, slice(max_length))]
    if truncation == "left":
        return [_cut(tokens, slice(-max_length, None))]
    return [_cut(tokens, slice(start, start + max_length)) for start in range(0, length, max_length)]


def _cut(tokens: Tokens, kept: slice) -> Tokens:
    ids, labels, weights = tokens
    return ids[kept], labels[kept], weights[kept] if weights is not None else None


def is_learned(tokens: Tokens) -> bool:
    """Whether any token but the first is supervised (the first one has nothing to be predicted from)."""
    return bool((tokens[1][1:] != IGNORE_INDEX).any())
