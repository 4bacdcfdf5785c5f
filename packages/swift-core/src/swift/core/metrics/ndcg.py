"""Normalised discounted cumulative gain."""

from __future__ import annotations

from torch import Tensor

from swift.core.metrics.rankings import rankings


def ndcg(predictions: Tensor, references: Tensor, groups: Tensor | None = None, k: int | None = 10) -> float:
    """Mean over queries of DCG@k / ideal DCG@k, DCG@k = sum_r relevance_r / log2(r + 1), by scikit-learn.

    Documents of equal scores share the mean of their places. Queries with one document are left out.

    Args:
        predictions: scores [M].
        references: relevance [M], not negative.
        groups: [M] number of the query.
        k: how many of the best places count; None for all.

    Raises:
        DataError: no query has a relevant document beside another one.
    """
    from sklearn.metrics import ndcg_score

    queries = rankings("ndcg", predictions, references, groups)
    values = [ndcg_score(relevance[None], scores[None], k=k) for scores, relevance in queries]
    return float(sum(values) / len(values))
