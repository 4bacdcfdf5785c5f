"""Integer grids: what a weight of few bits can be, in equations.

Legend: R rows (outputs) and C columns (inputs) of a weight, G groups of g columns, G g = C.

    q = clamp(round(w / s) + z, -2^(b-1), 2^(b-1) - 1)        w' = s (q - z)

symmetric:  s = 2 max|w| / (2^b - 1), z = 0
asymmetric: s = (max - min) / (2^b - 1), z = round(-2^(b-1) - min / s), with 0 between min and max

One s and z for each group of a row. This is how compressed-tensors reads weights, and how torchao's fake
quantisation trains them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swift.core.errors import ModelError


@dataclass(frozen=True)
class Grid:
    """b bits, groups of group_size columns (None: whole rows)."""

    bits: int
    group_size: int | None
    symmetric: bool = True

    @property
    def lowest(self) -> int:
        """Smallest q."""
        return -(1 << (self.bits - 1))

    @property
    def highest(self) -> int:
        """Largest q."""
        return (1 << (self.bits - 1)) - 1

    def width(self, columns: int) -> int:
        """Columns of a group."""
        return self.group_size or columns


@dataclass(frozen=True)
class Rounded:
    """A weight on its grid: weight [R, C] as it is computed with, scale and zero [R, G]."""

    weight: Tensor
    scale: Tensor
    zero: Tensor


def check_width(name: str, columns: int, grid: Grid) -> None:
    """Groups fill the rows of a layer.

    Raises:
        ModelError: they do not.
    """
    if columns % grid.width(columns):
        raise ModelError(
            f"layer {name!r} has {columns} inputs, which export.group_size={grid.group_size} does not divide",
            f"choose a divisor of {columns} (32, 64), or name the layer in export.ignore",
        )


def bounds_to_scale(low: Tensor, high: Tensor, grid: Grid, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(scale, zero) of groups whose weights lie between low and high, both [R, G].

    Args:
        dtype: precision that scales are stored in; they are rounded to it.
    """
    low, high = low.clamp(max=0), high.clamp(min=0)
    levels = grid.highest - grid.lowest
    spread = 2 * torch.maximum(-low, high) if grid.symmetric else high - low
    scale = (spread / levels).to(dtype).float()
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)  # a group of zeros
    if grid.symmetric:
        return scale, torch.zeros_like(scale)
    return scale, (grid.lowest - low / scale).round().clamp(grid.lowest, grid.highest)


def in_groups(weight: Tensor, width: int) -> Tensor:
    """[R, C] as [R, C / width, width]."""
    return weight.reshape(len(weight), -1, width)


def scale_of(weight: Tensor, grid: Grid, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(scale, zero), each [R, G], that cover a weight [R, C]."""
    groups = in_groups(weight, grid.width(weight.shape[1]))
    return bounds_to_scale(groups.amin(-1), groups.amax(-1), grid, dtype)


def snap(weight: Tensor, scale: Tensor, zero: Tensor, grid: Grid) -> Tensor:
    """The nearest points of the grid; weight [..., g] against scale and zero [..., 1] or alike.

    The largest weight of a group lies between two points (w / s = (2^b - 1) / 2): multiplying by 1 / s breaks
    the tie as torchao does, so that weights of train.qat are exported as they were trained.
    """
    steps = (torch.round(weight * (1.0 / scale)) + zero).clamp(grid.lowest, grid.highest)
    return (steps - zero) * scale


def nearest(
    weight: Tensor, grid: Grid, dtype: torch.dtype, bounds: tuple[Tensor, Tensor] | None = None
) -> Rounded:
    """Plain rounding of a float32 weight [R, C].

    Args:
        bounds: (low, high) [R, G] to clip to; default: the range of each group.
    """
    scale, zero = scale_of(weight, grid, dtype) if bounds is None else bounds_to_scale(*bounds, grid, dtype)
    groups = in_groups(weight, grid.width(weight.shape[1]))
    return Rounded(snap(groups, scale[..., None], zero[..., None], grid).flatten(1), scale, zero)
