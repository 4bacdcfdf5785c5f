"""Linear layers of a borrowed model, for the few rows that decoding gives them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from swift.kernels import native_available, skinny_linear


@contextlib.contextmanager
def skinny_linears(model: nn.Module) -> Iterator[None]:
    """Let plain float32 linear layers on a CPU read their live weight without copying it first.

    A layer whose forward pass somebody else has replaced keeps that one; hooks run as ever.
    """
    changed = [module for module in model.modules() if _plain(module)] if native_available() else []
    for module in changed:
        module.forward = _Skinny(module)  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _plain(module: nn.Module) -> bool:
    return type(module) is nn.Linear and "forward" not in vars(module) and module.weight.device.type == "cpu"


class _Skinny:
    """The forward pass of one layer."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        """[..., K] -> [..., N]."""
        return skinny_linear(input, self._layer.weight, self._layer.bias)
