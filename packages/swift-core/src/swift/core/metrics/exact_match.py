"""Answers that are right to the letter."""

from __future__ import annotations

from collections.abc import Sequence


def exact_match(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Share of answers that equal the reference, but for white space around them."""
    hits = [one.strip() == other.strip() for one, other in zip(predictions, references, strict=True)]
    return sum(hits) / len(hits)
