"""Logits to predicted labels."""

from __future__ import annotations

import math

from torch import Tensor

from swift.core.errors import ConfigError


def decided(metric: str, logits: Tensor, references: Tensor, threshold: float) -> Tensor:
    """Predicted classes int64 [B], or labels 0 and 1 int64 [B, C].

    Args:
        metric: whom errors name.
        logits: [B, C].
        references: classes [B], or 0 and 1 [B, C].
        threshold: probability from which on a label is predicted.

    Raises:
        ConfigError: numbers instead of classes.
    """
    if references.dim() == 2 and bool(((references == 0) | (references == 1)).all()):
        cut = math.log(threshold / (1 - threshold))
        return (logits >= cut).long()
    if references.dim() != 1 or references.is_floating_point():
        raise ConfigError(
            f"the metric {metric!r} counts classes, and this run predicts numbers (regression)",
            "use mse, pearson or spearman",
        )
    return logits.argmax(-1)
