"""GPTQ's column loop (Frantar et al., "GPTQ", 2022, algorithm 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from swift.infer.quantize.grid import Grid, Rounded, scale_of, snap

COLUMNS = 128
"""Columns whose corrections of later ones are gathered into one product, where groups do not say."""


def solve(
    weight: Tensor,
    gram: Tensor,
    grid: Grid,
    dtype: torch.dtype,
    *,
    damping: float = 0.01,
    act_order: bool = True,
) -> Rounded:
    """Round W [R, C] so that ||(W - W') X||^2 stays small, given H = X X^T [C, C].

    Columns are rounded one after the other; with U the upper Cholesky factor of (H + lambda I)^-1,
    lambda = damping * mean(diag H), the error e = (w_j - w'_j) / U_jj of column j is taken from the columns
    after it: W_{:, j+1:} -= e U_{j, j+1:}.

    Args:
        act_order: take columns by falling diag(H), with scales from the weights before any correction.

    Raises:
        torch.linalg.LinAlgError: H is not finite.
    """
    columns = weight.shape[1]
    gram = _without_dead(gram)
    order = (
        gram.diagonal().argsort(descending=True) if act_order else torch.arange(columns, device=gram.device)
    )
    scale, zero = scale_of(weight, grid, dtype)
    factor = _inverse_factor(gram[order][:, order], damping)
    rest, group_of = weight[:, order].clone(), order // grid.width(columns)
    rounded = torch.empty_like(rest)
    step = grid.width(columns) if not act_order else COLUMNS
    for start in range(0, columns, step):
        end = min(start + step, columns)
        if not act_order:  # groups lie in a row: their scales follow the corrected weights
            group = start // step
            one, offset = scale_of(rest[:, start:end], Grid(grid.bits, None, grid.symmetric), dtype)
            scale[:, group], zero[:, group] = one[:, 0], offset[:, 0]
        errors = torch.empty_like(rest[:, start:end])
        for column in range(start, end):
            at = group_of[column]
            rounded[:, column] = snap(rest[:, column], scale[:, at], zero[:, at], grid)
            error = (rest[:, column] - rounded[:, column]) / factor[column, column]
            rest[:, column + 1 : end] -= torch.outer(error, factor[column, column + 1 : end])
            errors[:, column - start] = error
        rest[:, end:] -= errors @ factor[start:end, end:]
    return Rounded(rounded[:, order.argsort()], scale, zero)


def _without_dead(gram: Tensor) -> Tensor:
    """Channels that were always 0 say nothing: as unit inputs, their weights are plainly rounded."""
    gram = gram.clone()
    diagonal = gram.diagonal()
    diagonal[diagonal == 0] = 1
    return gram


def _inverse_factor(gram: Tensor, damping: float) -> Tensor:
    """U with U^T U = (H + lambda I)^-1, upper triangular."""
    damped = gram.clone()
    damped.diagonal().add_(damping * gram.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
