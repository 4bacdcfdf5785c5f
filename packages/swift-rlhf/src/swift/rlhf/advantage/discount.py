"""Spreading a completion's advantage over its tokens. Shapes: B completions, T tokens."""

from __future__ import annotations

from torch import Tensor


def discounted(advantages_B: Tensor, mask_BT: Tensor, gamma: float) -> Tensor:
    """A_t = gamma^(n - 1 - t) A for the t-th of a completion's n tokens [B, T]; the last one gets A."""
    spread_BT = advantages_B.unsqueeze(1) * mask_BT
    if gamma == 1.0:
        return spread_BT
    later_BT = mask_BT.flip(1).cumsum(1).flip(1) - mask_BT.long()  # learned tokens after each one
    return spread_BT * gamma**later_BT
