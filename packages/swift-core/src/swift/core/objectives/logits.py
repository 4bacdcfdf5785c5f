"""Logits only where they are needed.

Shapes: B rows, T tokens, K kept columns, N wanted positions, V vocabulary.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

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
    columns_K = wanted_BT.any(dim=0).nonzero().squeeze(1)
    if accepts_logits_to_keep(model):
        output = model(**inputs, logits_to_keep=columns_K, use_cache=False, **options)
        return _rows(output.logits, wanted_BT[:, columns_K]), output
    output = model(**inputs, use_cache=False, **options)
    return _rows(output.logits, wanted_BT), output


def _rows(logits_BTV: Tensor, wanted: Tensor) -> Rows:
    """logits[wanted], where wanted may lack the last columns."""
    row_N, column_N = wanted.nonzero(as_tuple=True)
    return Rows(logits_BTV.flatten(0, 1), row_N * logits_BTV.shape[1] + column_N)


def accepts_logits_to_keep(model: nn.Module) -> bool:
    """Whether the forward under all wrappers (DDP, adapters) takes logits_to_keep."""
    inner: Any = getattr(model, "module", model)
    if hasattr(inner, "get_base_model"):
        inner = inner.get_base_model()
    return "logits_to_keep" in inspect.signature(inner.forward).parameters
