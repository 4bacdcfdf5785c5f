"""Losses of preference pairs: log-ratios in, one loss a pair out. Shapes: P pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Pairs:
    """Sums over the tokens of each answer, all [P].

    Attributes:
        chosen, rejected: log p(answer) - log p_reference(answer).
        chosen_length, rejected_length: learned tokens.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor


PreferenceLoss = Callable[[Pairs, float, float], Tensor]
"""(pairs, beta, label_smoothing) -> loss [P]."""


def sigmoid(pairs: Pairs, beta: float, label_smoothing: float) -> Tensor:
    """-(1 - e) log s(beta D) - e log s(-beta D), D = chosen - rejected (DPO, arXiv 2305.18290, eq. 7).

    With e = label_smoothing > 0, the share of pairs assumed to be labelled the wrong way round, it is cDPO.
    """
    margin = beta * (pairs.chosen - pairs.rejected)
    loss = -functional.logsigmoid(margin)
    if label_smoothing == 0.0:
        return loss
    return (1 - label_smoothing) * loss - label_smoothing * functional.logsigmoid(-margin)


LOSSES: dict[str, PreferenceLoss] = {"sigmoid": sigmoid}
