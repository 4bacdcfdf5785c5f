"""How long prompts are, for models that treat their tokens otherwise. Shapes: B rows, T tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

READS = "reads_prompt_lengths"


def reads_prompt_lengths(model: nn.Module) -> bool:
    """Whether a part of the model has to be told where prompts end, by the argument prompt_lengths.

    A part says so by an attribute (or property) of its class called reads_prompt_lengths.
    """
    return any(hasattr(type(part), READS) and getattr(part, READS) for part in model.modules())


def with_prompt_lengths(model: nn.Module, inputs: dict[str, Any], wanted_BT: Tensor) -> dict[str, Any]:
    """Inputs of a model, with prompt_lengths() for one that reads them."""
    if not reads_prompt_lengths(model):
        return inputs
    return {**inputs, "prompt_lengths": prompt_lengths(wanted_BT, inputs)}


def prompt_lengths(wanted_BT: Tensor, inputs: Mapping[str, Any]) -> Tensor:
    """Tokens up to the first one that is learned: int64 [B, 1], or for a packed row [1, T], by token.

    A sequence in which nothing is learned is a prompt as a whole.

    Args:
        wanted_BT: bool [B, T-1]; entry t says that token t+1 is learned.
        inputs: of the model; position_ids and cu_seq_lens_q tell a packed row.
    """
    if "cu_seq_lens_q" not in inputs:
        whole = wanted_BT.shape[1] + 1
        first = wanted_BT.int().argmax(dim=1) + 1
        return torch.where(wanted_BT.any(dim=1), first, whole)[:, None]
    starts = inputs["cu_seq_lens_q"].to(wanted_BT.device).long()
    lengths = starts.diff()
    owner_T = torch.repeat_interleave(torch.arange(len(lengths), device=starts.device), lengths)
    learned = wanted_BT[0].nonzero().squeeze(1)
    ends = starts[1:].scatter_reduce(0, owner_T[learned], learned + 1, "amin")
    lengths_1T: Tensor = (ends - starts[:-1])[owner_T][None]
    return lengths_1T
