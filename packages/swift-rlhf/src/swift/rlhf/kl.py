"""Estimators of KL(policy || reference) from tokens that the policy drew (joschu.net/blog/kl-approx.html).

With l = logp - reference_logp, elementwise on tensors of any shape:
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

KLEstimator = Callable[[Tensor, Tensor], Tensor]


def k1(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """l: unbiased, may be negative."""
    return logps - reference_logps


def k2(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """l^2 / 2: biased, never negative; its gradient is that of the KL divergence."""
    return (logps - reference_logps).square() / 2


def k3(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """exp(-l) + l - 1: unbiased, never negative; the one in GRPO's loss (arXiv 2402.03300, eq. 4)."""
    log_ratio = reference_logps - logps
    return log_ratio.exp() - log_ratio - 1


ESTIMATORS: dict[str, KLEstimator] = {"k1": k1, "k2": k2, "k3": k3}
