"""Predicted and true numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swift.core.metrics.check import other_labels

Floats = npt.NDArray[np.float64]


def checked(metric: str, predictions: Tensor, references: Tensor) -> tuple[Floats, Floats]:
    """Both as float64, flat.

    Raises:
        ConfigError: classes instead of numbers.
    """
    if predictions.shape != references.shape or not references.is_floating_point():
        raise other_labels(metric, "numbers", "classes")
    return predictions.double().flatten().numpy(), references.double().flatten().numpy()
