"""Reward of answers that can be compared as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift.core.errors import DataError


def exact_match(
    prompts: Sequence[Any], completions: Sequence[str], *, answer: Sequence[Any] | None = None, **columns: Any
) -> list[float]:
    """1.0 where the completion equals the row's answer column, white space at the ends aside; else 0.0.

    Raises:
        DataError: rows have no answer.
    """
    if answer is None:
        raise DataError(
            "the reward exact_match needs a column 'answer'",
            f"columns there are: {', '.join(sorted(columns)) or 'none'}; rename one with data.columns",
        )
    if None in answer:
        raise DataError("the reward exact_match needs an 'answer' in every row, and some have none")
    pairs = zip(completions, answer, strict=True)
    return [float(completion.strip() == str(expected).strip()) for completion, expected in pairs]
