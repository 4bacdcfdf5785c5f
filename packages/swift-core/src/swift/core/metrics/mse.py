"""Squared error of numbers."""

from __future__ import annotations

from torch import Tensor

from swift.core.metrics.numbers import checked


def mse(predictions: Tensor, references: Tensor) -> float:
    """Mean of (x - y)^2.

    Args:
        predictions, references: numbers [B] or [B, C].

    Raises:
        ConfigError: classes instead of numbers.
    """
    predicted, true = checked("mse", predictions, references)
    return float(((predicted - true) ** 2).mean())
