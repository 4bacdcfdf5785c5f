"""Rows of all ranks, with gradient. Without a process group there is one rank."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd import Function

from swift.core.train.ranks import is_distributed


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Rows of every rank in their order, and where this rank's start.

    Ranks may have different numbers of rows. The gradient of a row is the sum of what all ranks' losses give
    it, so that the sum of the ranks' losses has the gradient of one process that saw everything.

    Args:
        rows: [M, ...] floating point.

    Returns:
        [sum of M, ...].
    """
    if not is_distributed():
        return rows, 0
    counts = _counts(rows)
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded = torch.cat([rows, padded[len(rows) :]])
    pieces: Tensor = _Gather.apply(padded)  # type: ignore[no-untyped-call]
    kept = [piece[:count] for piece, count in zip(pieces, counts, strict=True)]
    return torch.cat(kept), sum(counts[: distributed.get_rank()])


def gather_ids(ids: Tensor) -> Tensor:
    """int64 [M] of every rank, in their order."""
    if not is_distributed():
        return ids
    counts = _counts(ids)
    padded = torch.cat([ids, ids.new_zeros(max(counts) - len(ids))])
    pieces = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(pieces, padded)
    return torch.cat([piece[:count] for piece, count in zip(pieces, counts, strict=True)])


class _Gather(Function):
    """[M, ...] of each rank to [ranks, M, ...]; gradients are summed over the ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        pieces = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(pieces, rows.contiguous())
        return torch.stack(pieces)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        summed = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed[distributed.get_rank()]


def _counts(rows: Tensor) -> list[int]:
    own = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, own)
    return [int(count) for count in counts]
