"""The edit of a hidden state, and the tokens whose states are edited. Shapes: B rows, T tokens, D width."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class PromptEnds:
    """The first and last tokens of a prompt."""

    first: int
    last: int

    def mask(self, positions: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Which tokens they are, bool [B, T].

        Args:
            positions: of each token in its sequence, [B or 1, T].
            lengths: tokens of the prompt of the sequence that a token is in, [B, 1] or [B, T].
        """
        ends = (positions < self.first) | (positions >= lengths - self.last)
        return ends & (positions < lengths)


class LowRankEdit(nn.Module):
    """h + R^T (W h + b - R h): the part of h in the span of R's rows becomes W h + b.

    R is the orthonormal factor of a free matrix. torch's own parametrisation is no choice here: it truncates
    a diagonal of ones to integers, which the first step with weight decay turns into zeros.

    W starts as R and b as zero, which is the identity. (The authors draw W at random.)

    Args:
        width: D.
        rank: rows of R.
        dropout: probability of dropping an entry of W h + b - R h while training.
        ends: the only tokens that are edited; None: all.
    """

    def __init__(self, width: int, rank: int, dropout: float = 0.0, ends: PromptEnds | None = None) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(rank, width))
        self.source = nn.Linear(width, rank)
        self.dropout = nn.Dropout(dropout)
        self.ends = ends
        with torch.no_grad():
            self.source.weight.copy_(self.rotation())
        nn.init.zeros_(self.source.bias)

    def rotation(self) -> torch.Tensor:
        """R [rank, D], orthonormal rows."""
        q_DR, r_RR = torch.linalg.qr(self.rows.T)
        signs = r_RR.diagonal().sign()  # with them the factorisation is unique, and continuous
        rotation: torch.Tensor = (q_DR * signs).T
        return rotation

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """[B, T, D] -> [B, T, D], in the precision of what comes in.

        Args:
            mask: bool [B, T], the tokens that are edited; None: all.
        """
        rotation = self.rotation()
        state = hidden.to(rotation.dtype)
        change = self.dropout(self.source(state) - nn.functional.linear(state, rotation))
        if mask is not None:
            change = change * mask[..., None]
        edited: torch.Tensor = hidden + (change @ rotation.to(change.dtype)).to(hidden.dtype)
        return edited
