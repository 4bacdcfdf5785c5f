"""From token losses to one number: what the mean of an optimiser step is taken over.

The loss of a step is sum(total over micro-batches and ranks) / sum(count over micro-batches and ranks).
Shapes: B completions, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Aggregation:
    """A mean in two halves.

    Attributes:
        total: (values [B, T], mask [B, T]) -> scalar sum of this micro-batch.
        count: (mask [B, T], longest completion allowed) -> scalar, what the step's sum is divided by.
    """

    total: Callable[[Tensor, Tensor], Tensor]
    count: Callable[[Tensor, int], Tensor]


def token_sum(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over all tokens."""
    return (values_BT * mask_BT).sum()


def sequence_mean_sum(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over completions of the mean over their tokens."""
    return ((values_BT * mask_BT).sum(-1) / mask_BT.sum(-1).clamp(min=1)).sum()


def local_token_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over this micro-batch's tokens."""
    return (values_BT * mask_BT).sum() / mask_BT.sum().clamp(min=1)


def tokens(mask_BT: Tensor, longest: int) -> Tensor:
    """Number of tokens."""
    return mask_BT.sum()


def sequences(mask_BT: Tensor, longest: int) -> Tensor:
    """Number of completions."""
    return torch.tensor(mask_BT.shape[0], device=mask_BT.device)


def one(mask_BT: Tensor, longest: int) -> Tensor:
    """Each micro-batch counts the same."""
    return torch.tensor(1, device=mask_BT.device)


def allowed_tokens(mask_BT: Tensor, longest: int) -> Tensor:
    """Tokens there would be if every completion had the longest allowed length."""
    return torch.tensor(mask_BT.shape[0] * longest, device=mask_BT.device)


AGGREGATIONS: dict[str, Aggregation] = {
    "token_mean": Aggregation(token_sum, tokens),
    "local_token_mean": Aggregation(local_token_mean, one),
    "seq-mean-token-mean": Aggregation(sequence_mean_sum, sequences),
    "seq-mean-token-sum": Aggregation(token_sum, sequences),
    "constant": Aggregation(token_sum, allowed_tokens),
}
