"""What is computed and in which pieces.

Shapes: N rows, H hidden width, V columns of the head (its vocabulary), R and C rows and columns of one tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """z = softcap(logit_scale (h w + b)) / temperature, with softcap(y) = cap tanh(y / cap)."""

    logit_scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("logit_scale", "softcap", "temperature"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}, it must be positive; pass 1.0 (softcap: None) for none")

    def logits(self, products: Tensor) -> Tensor:
        """z of the products (and bias) of a head, in float32."""
        scaled = products.float() * self.logit_scale
        if self.softcap is not None:
            scaled = self.softcap * torch.tanh(scaled / self.softcap)
        return scaled / self.temperature

    def slope(self, logits: Tensor) -> Tensor | float:
        """dz / d(h w + b), given z."""
        slope = self.logit_scale / self.temperature
        if self.softcap is None:
            return slope
        return slope * (1 - (logits * (self.temperature / self.softcap)).square())


@dataclass(frozen=True)
class Plan:
    """How to compute.

    Attributes:
        dtype: precision of the products.
        rows, columns: of one tile.
        entropy: whether entropies are wanted.
        hidden_gradient_now: compute the gradient of the hidden states in the forward pass, so that no product
            is computed twice; it needs a head that does not train.
    """

    scaling: Scaling
    dtype: torch.dtype
    rows: int
    columns: int
    native: bool
    entropy: bool = False
    hidden_gradient_now: bool = False


@dataclass(frozen=True)
class Forward:
    """What the forward pass found.

    Attributes:
        nll: float32 [N], -log p(target).
        log_total: float32 [N], log sum_v exp(z_v).
        entropy: float32 [N] in nats, or None.
        hidden_gradient: float32 [N, H], d nll / d hidden, or None.
    """

    nll: Tensor
    log_total: Tensor
    entropy: Tensor | None
    hidden_gradient: Tensor | None


@dataclass(frozen=True)
class Gradients:
    """float32, of hidden [N, H], weight [V, H] and bias [V]; None where not wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


def columns_of(weight: Tensor, first: int, last: int, dtype: torch.dtype) -> Tensor:
    """Rows [first, last) of the weight, which are columns of the logits, in the precision of the products."""
    return weight[first:last].to(dtype)
