"""Accuracy of classifications. Shapes: B texts, C classes."""

from __future__ import annotations

from torch import Tensor

from swift.core.metrics.decide import decided


def accuracy(predictions: Tensor, references: Tensor, threshold: float = 0.5) -> float:
    """Share of texts of which every label is right: of several labels all of them (subset accuracy).

    Args:
        predictions: logits [B, C].
        references: classes [B], or 0 and 1 [B, C].
        threshold: of several labels, the probability from which on one is predicted.

    Raises:
        ConfigError: numbers instead of classes.
    """
    right = decided("accuracy", predictions, references, threshold) == references
    return float(right.flatten(1).all(1).double().mean() if right.dim() > 1 else right.double().mean())
