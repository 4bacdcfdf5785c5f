"""Scores sorted by the query that they belong to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swift.core.errors import DataError

Floats = npt.NDArray[np.float64]


def rankings(
    metric: str, scores: Tensor, relevance: Tensor, groups: Tensor | None
) -> list[tuple[Floats, Floats]]:
    """Scores and relevances of each query that has a relevant document beside another one.

    A document alone is first whatever its score.

    Args:
        metric: whom errors name.
        scores, relevance: [M].
        groups: [M] number of the query; None when all belong to one.

    Raises:
        DataError: there is no such query.
    """
    numbers = np.zeros(len(scores), dtype=np.int64) if groups is None else groups.numpy()
    found = [pair for pair in _split(scores, relevance, numbers) if len(pair[1]) > 1 and (pair[1] > 0).any()]
    if not found:
        raise DataError(
            f"the metric {metric!r} ranks a relevant document among others, and no held-out row has that",
            "write all documents of a query into one row: query, documents: [...], labels: [1, 0, ...]",
        )
    return found


def _split(
    scores: Tensor, relevance: Tensor, groups: npt.NDArray[np.int64]
) -> Iterator[tuple[Floats, Floats]]:
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    values = (np.split(each.double().numpy()[order], cuts) for each in (scores, relevance))
    return zip(*values, strict=True)
