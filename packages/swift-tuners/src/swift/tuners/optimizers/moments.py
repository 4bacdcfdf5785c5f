"""From a gradient to the direction of a step: Adam, Adam with 8-bit moments, Adafactor.

Each is `(state, gradient, group) -> direction` in float32. The state has counted the step already.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

from swift.core.errors import ConfigError
from swift.tuners.optimizers.by_parameter import Group, State

Direction = Callable[[State, Tensor, Group], Tensor]

BLOCK = 256
"""Elements that share one scale in 8-bit moments."""
SMALLEST_8BIT = 4096
"""Moments of fewer elements stay in float32, as in bitsandbytes."""


def adamw(state: State, gradient: Tensor, group: Group) -> Tensor:
    r"""$\hat m / (\sqrt{\hat v} + \epsilon)$ of Adam; the weight decay is the caller's (arXiv:1711.05101)."""
    return _corrected(*averages(state, gradient, group), state["step"], group)


def averages(state: State, gradient: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """The state's moving averages of the gradient and its square, one step on."""
    if "exp_avg" not in state:
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    _advance(mean, square, gradient, group)
    return mean, square


def _advance(mean: Tensor, square: Tensor, gradient: Tensor, group: Group) -> None:
    beta1, beta2 = group["betas"]
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)


def _corrected(mean: Tensor, square: Tensor, step: int, group: Group) -> Tensor:
    beta1, beta2 = group["betas"]
    denominator = (square / (1 - beta2**step)).sqrt_().add_(group["eps"])
    direction: Tensor = (mean / (1 - beta1**step)).div_(denominator)
    return direction


def adamw_8bit(state: State, gradient: Tensor, group: Group) -> Tensor:
    """adamw() whose moments are kept in 8 bits, each block of 256 with its own scale (arXiv:2110.02861)."""
    if gradient.numel() < SMALLEST_8BIT:
        return adamw(state, gradient, group)
    mean = _unpacked(state, "exp_avg", gradient, signed=True)
    square = _unpacked(state, "exp_avg_sq", gradient, signed=False)
    _advance(mean, square, gradient, group)
    direction = _corrected(mean, square, state["step"], group)
    _pack(state, "exp_avg", mean, signed=True)
    _pack(state, "exp_avg_sq", square, signed=False)
    return direction


def adafactor(state: State, gradient: Tensor, group: Group) -> Tensor:
    r"""$G / \sqrt{\hat V}$, clipped to a root mean square of 1; of $V$ only row and column means are kept.

    The decay is $1 - t^{-0.8}$; no first moment (arXiv:1804.04235).
    """
    decay = 1 - state["step"] ** -0.8
    square = gradient.square().add_(1e-30)
    if gradient.ndim < 2:
        second = state.setdefault("exp_avg_sq", torch.zeros_like(square)).lerp_(square, 1 - decay)
    else:
        row, column = square.mean(-1, keepdim=True), square.mean(-2, keepdim=True)
        row = state.setdefault("exp_avg_sq_row", torch.zeros_like(row)).lerp_(row, 1 - decay)
        column = state.setdefault("exp_avg_sq_col", torch.zeros_like(column)).lerp_(column, 1 - decay)
        second = row / row.mean(-2, keepdim=True) * column
    direction: Tensor = gradient * second.rsqrt()
    direction.div_(direction.square().mean().sqrt().clamp_(min=1.0))
    return direction


DIRECTIONS: dict[str, Direction] = {"adamw": adamw, "adamw8bit": adamw_8bit, "adafactor": adafactor}


def check_base(optimizer: str, base: str) -> None:
    """Raise ConfigError where 8-bit moments are asked for and bitsandbytes is not installed."""
    if base == "adamw8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"base=adamw8bit of {optimizer} needs bitsandbytes, which is not installed",
            'pip install "swift-tuners[bitsandbytes]", or set base to adamw',
        )


@functools.cache
def _code(signed: bool, device: torch.device) -> Tensor:
    """The 256 values that a code stands for: finer near zero."""
    from bitsandbytes.functional import create_dynamic_map

    values: Tensor = create_dynamic_map(signed=signed).to(device)
    return values


def _unpacked(state: State, name: str, like: Tensor, signed: bool) -> Tensor:
    from bitsandbytes.functional import dequantize_blockwise

    if name not in state:
        return torch.zeros_like(like)
    code = _code(signed, like.device)
    values: Tensor = dequantize_blockwise(
        state[name], absmax=state[f"{name}_absmax"], code=code, blocksize=BLOCK
    )
    return values


def _pack(state: State, name: str, values: Tensor, signed: bool) -> None:
    from bitsandbytes.functional import quantize_blockwise

    codes, how = quantize_blockwise(values, code=_code(signed, values.device), blocksize=BLOCK)
    state[name], state[f"{name}_absmax"] = codes, how.absmax
