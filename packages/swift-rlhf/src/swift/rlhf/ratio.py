"""Importance ratios between the policy that trains and the one that drew the tokens.

Shapes: B completions, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Ratio = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logps [B, T], old_logps [B, T], mask [B, T]) -> ratio [B, T] or [B, 1]."""


def token(logps_BT: Tensor, old_logps_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """exp(logp - old_logp), one ratio a token (PPO, arXiv 1707.06347)."""
    return (logps_BT - old_logps_BT).exp()


RATIOS: dict[str, Ratio] = {"token": token}
