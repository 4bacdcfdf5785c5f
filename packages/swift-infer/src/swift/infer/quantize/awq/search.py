"""AWQ's two searches (Lin et al., "AWQ", 2023, equations 4 and 5; clipping as in its implementation).

Both minimise ||(W - W') X||^2 = tr((W - W') H (W - W')^T) with H = X X^T, so they need no inputs.
Legend: R rows, C columns, G groups of g columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from swift.infer.quantize.grid import Grid, bounds_to_scale, in_groups, nearest, snap
from swift.infer.quantize.statistics import InputStatistics

SMALLEST = 1e-4
"""Lower bound of a scale, so that silent channels stay finite."""
ROWS = 256
"""Rows of a weight clipped at a time, which bounds the memory."""


def best_factor(weights: Sequence[Tensor], seen: InputStatistics, grid: Grid, steps: int) -> Tensor:
    """s [C] = mean|x|^a, normalised by sqrt(max s * min s), for the best a in 0, 1/steps, ..., 1.

    Args:
        weights: float32 [R_i, C] of the layers that share the inputs.
    """
    mean = (seen.total / max(seen.count, 1)).clamp(min=SMALLEST)
    best, lowest = torch.ones_like(mean), float("inf")
    for step in range(steps + 1):
        factor = mean ** (step / steps)
        factor = factor / (factor.max() * factor.min()).sqrt()
        error = sum(_error(weight, factor, seen.gram, grid) for weight in weights)
        if error < lowest:
            best, lowest = factor, error
    return best


def _error(weight: Tensor, factor: Tensor, gram: Tensor, grid: Grid) -> float:
    change = weight - nearest(weight * factor, grid, torch.float32).weight / factor
    return float(((change @ gram) * change).sum())


def best_bounds(
    weight: Tensor, gram: Tensor, grid: Grid, steps: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """(low, high) [R, G] that each group is clipped to: its range times 1, ..., 1/2, whichever errs least.

    The error of a group is that of its own columns: d_g H_gg d_g^T.
    """
    width = grid.width(weight.shape[1])
    starts = range(0, weight.shape[1], width)
    own = torch.stack([gram[start : start + width, start : start + width] for start in starts])
    parts = [_clipped(rows, own, grid, steps, dtype) for rows in torch.split(in_groups(weight, width), ROWS)]
    return torch.cat([low for low, _ in parts]), torch.cat([high for _, high in parts])


def _clipped(
    groups: Tensor, own: Tensor, grid: Grid, steps: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Of groups [R, G, g] with own [G, g, g]."""
    low, high = groups.amin(-1), groups.amax(-1)
    best_low, best_high = low, high
    lowest = torch.full_like(low, float("inf"))
    for step in range(steps + 1):
        share = 1 - 0.5 * step / max(steps, 1)
        scale, zero = bounds_to_scale(low * share, high * share, grid, dtype)
        change = groups - snap(groups, scale[..., None], zero[..., None], grid)
        error = torch.einsum("rgc,gcd,rgd->rg", change, own, change)
        better = error < lowest
        lowest = torch.where(better, error, lowest)
        best_low = torch.where(better, low * share, best_low)
        best_high = torch.where(better, high * share, best_high)
    return best_low, best_high
