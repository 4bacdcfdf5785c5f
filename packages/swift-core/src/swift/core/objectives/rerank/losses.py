"""Losses of rankings. Shapes: G queries, K documents of the longest list."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def listwise(inputs: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """-sum_k p_k log softmax(x / t)_k with p_k = y_k / sum_j y_j: ListNet's top-one loss.

    The relevances are shared out instead of passed through a softmax, so that irrelevant documents have no
    share (Cao et al., ICML 2007; Bruch et al., ICTIR 2019).

    Args:
        inputs: scores [G, K], padded with a large negative number.
        targets: relevances [G, K] >= 0, padded with 0; each row has one above 0.

    Returns:
        float32 [G].
    """
    shares = targets.float() / targets.float().sum(-1, keepdim=True)
    return -(shares * functional.log_softmax(inputs.float() / temperature, dim=-1)).sum(-1)
