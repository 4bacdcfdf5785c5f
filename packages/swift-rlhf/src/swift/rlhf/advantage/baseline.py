"""What is subtracted from the rewards. Shapes: P prompts, G completions of each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Baseline = Callable[[Tensor], Tensor]
"""rewards [P, G] -> baseline, broadcastable to [P, G]."""


def group_mean(rewards_PG: Tensor) -> Tensor:
    """Mean reward of the prompt's completions (GRPO, arXiv 2402.03300)."""
    return rewards_PG.mean(dim=1, keepdim=True)


def leave_one_out(rewards_PG: Tensor) -> Tensor:
    """Mean reward of the prompt's other completions (RLOO, arXiv 2402.14740); needs G >= 2."""
    others = rewards_PG.shape[1] - 1
    return (rewards_PG.sum(dim=1, keepdim=True) - rewards_PG) / others


def none(rewards_PG: Tensor) -> Tensor:
    """Zero: the rewards themselves."""
    return torch.zeros_like(rewards_PG)


BASELINES: dict[str, Baseline] = {"group_mean": group_mean, "leave_one_out": leave_one_out, "none": none}
