"""Mean reciprocal rank."""

from __future__ import annotations

from torch import Tensor

from swift.core.metrics.rankings import rankings


def mrr(predictions: Tensor, references: Tensor, groups: Tensor | None = None) -> float:
    """Mean over queries of 1 / rank of the best relevant document (Voorhees, TREC-8 1999).

    An irrelevant document with the same score counts as ranked above, so equal scores for all earn nothing.
    Queries with one document are left out.

    Args:
        predictions: scores [M].
        references: relevance [M]; above 0 is relevant.
        groups: [M] number of the query.

    Raises:
        DataError: no query has a relevant document beside another one.
    """
    ranks = [
        1 + int((scores[relevance <= 0] >= scores[relevance > 0].max()).sum())
        for scores, relevance in rankings("mrr", predictions, references, groups)
    ]
    return sum(1 / rank for rank in ranks) / len(ranks)
