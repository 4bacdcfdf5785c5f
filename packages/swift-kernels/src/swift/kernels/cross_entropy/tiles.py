"""Tile by tile on a CPU, as flash attention does it with the head in the place of keys and values.

A tile of logits stays in the cache: torch computes the product, native code turns it into exponentials
relative to the largest logit so far, and torch multiplies those with the same columns of the weight again.
Where a later tile raises a row's largest logit, what was summed before is scaled down.

Shapes: N rows, H hidden width, V vocabulary; R and C rows and columns of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from swift.kernels.cross_entropy.plan import Forward, Gradients, Plan, columns_of

LOWEST = torch.finfo(torch.float32).min


def forward(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, plan: Plan) -> Forward:
    """Losses of all rows, and their gradients for the hidden states where the plan says so."""
    from swift.kernels import _native

    rows, width = hidden.shape
    top = torch.full((rows,), LOWEST)
    picked, slope = torch.zeros(2, rows)
    total, spread = torch.zeros(2, rows, dtype=torch.float64)
    weighted = torch.zeros(rows, width) if plan.hidden_gradient_now else None
    buffers = Buffers(hidden, weight, plan)
    for part, first, last in _tiles(rows, len(weight), plan):
        columns_CH = columns_of(weight, first, last, plan.dtype)
        tile_RC = buffers.product(hidden[part], columns_CH, bias, first)
        addresses = (
            top[part].data_ptr(),
            total[part].data_ptr(),
            spread[part].data_ptr() if plan.entropy else 0,
            picked[part].data_ptr(),
            slope[part].data_ptr(),
            weighted[part].data_ptr() if weighted is not None else 0,
            width,
        )
        _native.softmax_tile(_described(tile_RC, targets[part], first), addresses, *_settings(plan))
        if weighted is not None:
            buffers.accumulate(weighted[part], tile_RC, columns_CH)
    below = (picked - top).double()
    others, total = total, total + below.exp()
    log_total = total.log()
    if weighted is not None:
        share = ((others / total) * slope).float()  # of the other tokens: 1 - p of the target
        weighted.div_(total.float().unsqueeze(-1)).addcmul_(
            weight[targets].float(), share.unsqueeze(-1), value=-1
        )
    entropy = (log_total - (spread + _times(below.exp(), below)) / total).float() if plan.entropy else None
    return Forward((log_total - below).float(), (log_total + top).float(), entropy, weighted)


def _times(share: Tensor, below: Tensor) -> Tensor:
    """share below, 0 where there is no share of what lies infinitely far below."""
    return torch.where(share > 0, share * below, share)


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
    from swift.kernels import _native

    of_hidden = torch.zeros(hidden.shape) if wanted[0] else None
    of_weight = torch.zeros(weight.shape) if wanted[1] else None
    of_bias = torch.zeros(len(weight)) if wanted[2] else None
    row_gradient = row_gradient.float().contiguous()
    buffers = Buffers(hidden, weight, plan)
    for part, first, last in _tiles(len(hidden), len(weight), plan):
        columns_CH = columns_of(weight, first, last, plan.dtype)
        tile_RC = buffers.product(hidden[part], columns_CH, bias, first)
        _native.softmax_gradient_tile(
            _described(tile_RC, targets[part], first),
            log_total[part].data_ptr(),
            row_gradient[part].data_ptr(),
            *_settings(plan),
        )
        if of_hidden is not None:
            buffers.accumulate(of_hidden[part], tile_RC, columns_CH)
        if of_weight is not None:
            buffers.accumulate(of_weight[first:last], tile_RC.t(), hidden[part])
        if of_bias is not None:
            of_bias[first:last] += tile_RC.sum(0, dtype=torch.float32)
    return Gradients(of_hidden, of_weight, of_bias)


class Buffers:
    """Memory for one tile and for one product of it, used again for all tiles."""

    def __init__(self, hidden: Tensor, weight: Tensor, plan: Plan) -> None:
        self.rows, self.columns = min(plan.rows, len(hidden)), min(plan.columns, len(weight))
        self.tile = torch.empty(self.rows * self.columns, dtype=plan.dtype)
        larger = max(self.rows, self.columns)
        low = plan.dtype != torch.float32
        self.rounded = torch.empty(larger, hidden.shape[1], dtype=plan.dtype) if low else None

    def product(self, hidden_RH: Tensor, columns_CH: Tensor, bias: Tensor | None, first: int) -> Tensor:
        """h w + b [R, C] of one tile."""
        rows, columns = len(hidden_RH), len(columns_CH)
        tile_RC = self.tile[: rows * columns].view(rows, columns)
        if bias is None:
            return torch.mm(hidden_RH, columns_CH.t(), out=tile_RC)
        own = bias[first : first + columns].to(tile_RC.dtype)
        return torch.addmm(own, hidden_RH, columns_CH.t(), out=tile_RC)

    def accumulate(self, sums: Tensor, left: Tensor, right: Tensor) -> None:
        """sums += left @ right, the sum in float32."""
        if self.rounded is None:
            sums.addmm_(left, right)
        else:
            sums.add_(torch.mm(left, right, out=self.rounded[: len(left)]))


def _tiles(rows: int, columns: int, plan: Plan) -> Iterator[tuple[slice, int, int]]:
    """Column after column: a tile's part of the weight is read once for all rows."""
    for first in range(0, columns, plan.columns):
        for row in range(0, rows, plan.rows):
            yield slice(row, min(row + plan.rows, rows)), first, min(first + plan.columns, columns)


def _described(tile_RC: Tensor, targets: Tensor, first: int) -> tuple[int, bool, int, int, int, int]:
    low = tile_RC.dtype == torch.bfloat16
    return tile_RC.data_ptr(), low, len(tile_RC), tile_RC.shape[1], first, targets.data_ptr()


def _settings(plan: Plan) -> tuple[tuple[float, float, float], int]:
    scaling = plan.scaling
    return (scaling.logit_scale, scaling.softcap or 0.0, 1 / scaling.temperature), torch.get_num_threads()
