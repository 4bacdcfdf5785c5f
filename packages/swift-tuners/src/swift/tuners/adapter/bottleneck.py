"""The bottleneck."""

from __future__ import annotations

import torch
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Bottleneck(nn.Module):
    """z + W_up f(W_down z + b_down) + b_up, where W_up and b_up start as zero: the identity.

    Args:
        width: of z.
        size: rows of W_down.
        activation: f, one of ACTIVATIONS.
        dropout: probability of dropping an entry of f(...) while training.
    """

    def __init__(self, width: int, size: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, size)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., width] -> [..., width], in the precision of what comes in."""
        inner = self.down(hidden.to(self.down.weight.dtype))
        change = self.up(self.dropout(self.activation(inner)))
        result: torch.Tensor = hidden + change.to(hidden.dtype)
        return result
