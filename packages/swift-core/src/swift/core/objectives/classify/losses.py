"""Losses of labels and numbers, one value an item. Shapes: B items, C classes or numbers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def binary_cross_entropy(inputs: Tensor, targets: Tensor) -> Tensor:
    """mean_c -(y_c log s(x_c) + (1 - y_c) log(1 - s(x_c))), s the logistic function.

    Args:
        inputs: logits [B, C] or [B].
        targets: probabilities of the same shape, usually 0 and 1.

    Returns:
        float32 [B].
    """
    values = functional.binary_cross_entropy_with_logits(inputs.float(), targets.float(), reduction="none")
    return values.flatten(1).mean(1) if values.dim() > 1 else values


def mse(inputs: Tensor, targets: Tensor) -> Tensor:
    """mean_c (x_c - y_c)^2.

    Args:
        inputs, targets: [B, C] or [B].

    Returns:
        float32 [B].
    """
    values = functional.mse_loss(inputs.float(), targets.float(), reduction="none")
    return values.flatten(1).mean(1) if values.dim() > 1 else values
