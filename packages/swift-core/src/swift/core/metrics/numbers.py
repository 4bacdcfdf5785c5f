"""Predicted and true numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from swift.core.errors import ConfigError

Floats = npt.NDArray[np.float64]


def checked(metric: str, predictions: Tensor, references: Tensor) -> tuple[Floats, Floats]:
    """Both as float64, flat.

    Raises:
        ConfigError: classes instead of numbers.
    """
    if predictions.shape != references.shape or not references.is_floating_point():
        raise ConfigError(
            f"the metric {metric!r} compares numbers, and this run predicts classes",
            "use accuracy or f1, or set train.problem_type=regression",
        )
    return predictions.double().flatten().numpy(), references.double().flatten().numpy()
