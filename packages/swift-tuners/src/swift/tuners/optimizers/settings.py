"""Checks of what train.optim_config says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift.core.errors import ConfigError, did_you_mean


def require(holds: bool, optimizer: str, name: str, value: Any, rule: str) -> None:
    """Raise ConfigError unless a setting keeps its rule ("is at least 1")."""
    if not holds:
        raise ConfigError(f"train.optim_config: {name} of {optimizer} is {value!r}", f"{name} {rule}")


def one_of(optimizer: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ConfigError unless a setting is one of the choices."""
    if value not in choices:
        raise ConfigError(
            f"train.optim_config: {name} of {optimizer} is {value!r}", did_you_mean(str(value), choices)
        )


def adam_settings(
    optimizer: str, lr: float, weight_decay: float, betas: Sequence[float], eps: float
) -> dict[str, Any]:
    """Settings that every group of an Adam-like optimiser has.

    Raises:
        ConfigError: one of them is out of its range.
    """
    require(lr >= 0, optimizer, "lr", lr, "is at least 0")
    require(weight_decay >= 0, optimizer, "weight_decay", weight_decay, "is at least 0")
    require(eps >= 0, optimizer, "eps", eps, "is at least 0")
    fine = len(betas) == 2 and all(0 <= beta < 1 for beta in betas)
    require(fine, optimizer, "betas", betas, "are two numbers of at least 0 and below 1")
    first, second = betas
    return {
        "lr": lr,
        "weight_decay": weight_decay,
        "betas": (float(first), float(second)),
        "eps": eps,
    }
