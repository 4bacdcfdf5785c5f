"""Correlation of predicted and true numbers."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from swift.core.metrics.numbers import Floats, checked


def pearson(predictions: Tensor, references: Tensor) -> float:
    """Covariance over the product of the standard deviations, -1 to 1; 0 where one side is constant.

    Args:
        predictions, references: numbers [B].

    Raises:
        ConfigError: classes instead of numbers.
    """
    return _linear(*checked("pearson", predictions, references))


def spearman(predictions: Tensor, references: Tensor) -> float:
    """Pearson's correlation of the ranks, equal numbers sharing their mean; 0 where one side is constant.

    Args:
        predictions, references: numbers [B].

    Raises:
        ConfigError: classes instead of numbers.
    """
    from scipy.stats import rankdata

    predicted, true = checked("spearman", predictions, references)
    return _linear(rankdata(predicted), rankdata(true))


def _linear(one: Floats, other: Floats) -> float:
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
