"""Accuracy of next tokens."""

from __future__ import annotations

from torch import Tensor


def token_accuracy(predictions: Tensor, references: Tensor) -> float:
    """Share of learned tokens that were the likeliest, given the true ones before them.

    Args:
        predictions, references: token ids [N].
    """
    return float((predictions == references).double().mean())
