"""Logits, or losses, only where they are needed.

Shapes: B rows, T tokens, K kept columns, N wanted positions, V vocabulary.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from swift.core.models.fused_head import Question, fused_head, head_owner
from swift.core.models.prompt import with_prompt_lengths
from swift.core.objectives.rows import Rows
from swift.core.types import Batch

NOT_FOR_THE_MODEL = ("labels", "loss_weights")


def keyword_inputs(batch: Batch) -> dict[str, Any]:
    """The part of a batch that the model's forward reads."""
    return {key: value for key, value in batch.items() if key not in NOT_FOR_THE_MODEL}


def logits_at(model: nn.Module, inputs: dict[str, Any], wanted_BT: Tensor) -> Tensor:
    """Logits [N, V] at the positions that predict the wanted next tokens, row by row.

    Args:
        wanted_BT: bool [B, T-1]; entry t says that the logits at position t are wanted.
    """
    return forward_at(model, inputs, wanted_BT)[0].gathered()


def forward_at(
    model: nn.Module, inputs: dict[str, Any], wanted_BT: Tensor, **options: Any
) -> tuple[Rows, Any]:
    """What logits_at() gathers, and the model's whole output.

    The output layer runs only on columns in which some row is wanted, where the model allows it: with a large
    vocabulary it costs more time and memory than everything else.

    Args:
        options: further arguments of the forward pass.
    """
    kept, wanted_BK = _kept(model, wanted_BT)
    output = model(**with_prompt_lengths(model, inputs, wanted_BT), **kept, use_cache=False, **options)
    return _rows(output.logits, wanted_BK), output


@dataclass(frozen=True)
class TokenLosses:
    """What a fused head says of the wanted tokens.

    Attributes:
        nll_N: float32 [N], -log p of each target.
        entropy_N: float32 [N] in nats, without gradient; None when not asked for.
    """

    nll_N: Tensor
    entropy_N: Tensor | None


def losses_at(
    model: nn.Module,
    inputs: dict[str, Any],
    wanted_BT: Tensor,
    targets_N: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
) -> TokenLosses | None:
    """Losses at the positions that predict the wanted next tokens, row by row, without their logits.

    Args:
        wanted_BT: bool [B, T-1]; entry t says that the loss at position t is wanted.
        targets_N: int64, the tokens that follow there.
        temperature: divides the logits.
        entropy: also compute the entropy of each distribution.

    Returns:
        None where the model's head is not fused (train.fused_head, or a head that it cannot be done for).
    """
    head = fused_head(model)
    if head is None:
        return None
    kept, wanted_BK = _kept(model, wanted_BT)
    with head.asked(Question(wanted_BK, targets_N, temperature, entropy)) as question:
        output = model(**with_prompt_lengths(model, inputs, wanted_BT), **kept, use_cache=False)
    return TokenLosses(output.logits, question.entropy_N)


def _kept(model: nn.Module, wanted_BT: Tensor) -> tuple[dict[str, Any], Tensor]:
    """Arguments that choose columns of the output layer's input, and which [B, K] of them are wanted."""
    if not accepts_logits_to_keep(model):  # the last column predicts nothing
        return {}, nn.functional.pad(wanted_BT, (0, 1))
    columns_K = wanted_BT.any(dim=0).nonzero().squeeze(1)
    return {"logits_to_keep": columns_K}, wanted_BT[:, columns_K]


def _rows(logits_BTV: Tensor, wanted: Tensor) -> Rows:
    """logits[wanted]."""
    row_N, column_N = wanted.nonzero(as_tuple=True)
    return Rows(logits_BTV.flatten(0, 1), row_N * logits_BTV.shape[1] + column_N)


def accepts_logits_to_keep(model: nn.Module) -> bool:
    """Whether the forward under all wrappers (DDP, adapters) takes logits_to_keep."""
    return "logits_to_keep" in inspect.signature(head_owner(model).forward).parameters
