"""What advantages are divided by. Shapes: P prompts, G completions of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Scale = Callable[[Tensor, float], Tensor]
"""(rewards [P, G], epsilon) -> divisor, broadcastable to [P, G]."""


def group_std(rewards_PG: Tensor) -> Tensor:
    """Standard deviation [P, 1] of each prompt's rewards, with G - 1 in the denominator; 0 if G is 1."""
    if rewards_PG.shape[1] == 1:
        return torch.zeros_like(rewards_PG)
    return rewards_PG.std(dim=1, keepdim=True)


def group(rewards_PG: Tensor, epsilon: float) -> Tensor:
    """Group standard deviation + epsilon (GRPO, arXiv 2402.03300)."""
    return group_std(rewards_PG) + epsilon


def none(rewards_PG: Tensor, epsilon: float) -> Tensor:
    """1: hard and easy prompts keep their weight (Dr. GRPO, arXiv 2503.20783)."""
    return torch.ones_like(rewards_PG)


SCALES: dict[str, Scale] = {"group": group, "none": none}
