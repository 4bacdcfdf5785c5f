"""Logits to predicted labels."""

from __future__ import annotations

import math

from torch import Tensor

from swift.core.errors import ConfigError
from swift.core.metrics.check import other_labels


def decided(metric: str, logits: Tensor, references: Tensor, threshold: float) -> Tensor:
    """Predicted classes int64 [B], or labels 0 and 1 int64 [B, C].

    Args:
        metric: whom errors name.
        logits: [B, C].
        references: classes [B], or 0 and 1 [B, C].
        threshold: probability from which on a label is predicted.

    Raises:
        ConfigError: numbers instead of classes, or a threshold that is no probability.
    """
    if not 0 < threshold < 1:
        raise ConfigError(
            f"the metric {metric!r} has threshold={threshold}", "it is a probability between 0 and 1"
        )
    if references.dim() == 2 and bool(((references == 0) | (references == 1)).all()):
        cut = math.log(threshold / (1 - threshold))
        return (logits >= cut).long()
    if references.dim() != 1 or references.is_floating_point():
        raise other_labels(metric, "classes", "numbers")
    return logits.argmax(-1)
