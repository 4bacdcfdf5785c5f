"""What one token adds to the policy loss, from its ratio and advantage."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped(ratio: Tensor, advantages: Tensor, low: float, high: float) -> Tensor:
    """-min(ratio A, clip(ratio, 1 - low, 1 + high) A) (PPO, arXiv 1707.06347; DAPO's low < high, 2503.14476).

    Beyond the clip range in the direction that A rewards, the gradient is zero.

    Args:
        ratio: [B, T] or [B, 1].
        advantages: broadcastable to ratio.
    """
    return -torch.min(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)


def outside_clip(ratio: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Where clipping removes the gradient: below the range with A < 0, above it with A > 0 (bool tensors)."""
    return (ratio < 1 - low) & (advantages < 0), (ratio > 1 + high) & (advantages > 0)
