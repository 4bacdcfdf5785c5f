"""The definition in torch's operators, some rows at a time: for any device, and for tests of native code.

Shapes: N rows, R rows of a part, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from swift.kernels.cross_entropy.plan import Forward, Gradients, Plan


def forward(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, plan: Plan) -> Forward:
    """Losses of all rows, and their gradients for the hidden states where the plan says so."""
    weight = weight.to(plan.dtype)
    nll, log_total, entropy = hidden.new_zeros(3, len(hidden), dtype=torch.float32)
    gradient = hidden.new_empty(hidden.shape, dtype=torch.float32) if plan.hidden_gradient_now else None
    for part in _parts(len(hidden), plan.rows):
        logits_RV = _logits(hidden[part], weight, bias, plan)
        log_total[part] = logits_RV.logsumexp(-1)
        nll[part] = log_total[part] - logits_RV.gather(-1, targets[part].unsqueeze(-1)).squeeze(-1)
        if not plan.entropy and gradient is None:
            continue
        p_RV = (logits_RV - log_total[part].unsqueeze(-1)).exp_()
        if plan.entropy:
            entropy[part] = log_total[part] - torch.where(p_RV > 0, p_RV * logits_RV, p_RV).sum(-1)
        if gradient is not None:
            gradient[part] = _of_products(p_RV, logits_RV, targets[part], plan) @ weight
    return Forward(nll, log_total, entropy if plan.entropy else None, gradient)


def backward(
    row_gradient: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    log_total: Tensor,
    plan: Plan,
    wanted: tuple[bool, bool, bool],
) -> Gradients:
    """Gradients of the hidden states, the weight and the bias, from logits that are computed again."""
    product_weight = weight.to(plan.dtype)
    of_hidden = torch.empty_like(hidden, dtype=torch.float32) if wanted[0] else None
    of_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
    of_bias = torch.zeros_like(bias, dtype=torch.float32) if wanted[2] and bias is not None else None
    for part in _parts(len(hidden), plan.rows):
        logits_RV = _logits(hidden[part], product_weight, bias, plan)
        p_RV = (logits_RV - log_total[part].unsqueeze(-1)).exp_()
        change_RV = _of_products(p_RV, logits_RV, targets[part], plan, row_gradient[part])
        if of_hidden is not None:
            of_hidden[part] = change_RV @ product_weight
        if of_weight is not None:
            of_weight += change_RV.t() @ hidden[part]
        if of_bias is not None:
            of_bias += change_RV.sum(0, dtype=torch.float32)
    return Gradients(of_hidden, of_weight, of_bias)


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan) -> Tensor:
    bias = None if bias is None else bias.to(plan.dtype)
    return plan.scaling.logits(torch.nn.functional.linear(hidden, weight, bias))


def _of_products(
    p_RV: Tensor, logits_RV: Tensor, targets: Tensor, plan: Plan, row_gradient: Tensor | None = None
) -> Tensor:
    """d nll / d (h w + b) [R, V], times each row's gradient; overwrites the probabilities."""
    p_RV.scatter_add_(1, targets.unsqueeze(-1), torch.full_like(p_RV[:, :1], -1.0))
    p_RV.mul_(plan.scaling.slope(logits_RV))
    if row_gradient is not None:
        p_RV.mul_(row_gradient.unsqueeze(-1))
    return p_RV.to(plan.dtype)
