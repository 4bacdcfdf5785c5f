"""The two ways of lora_linear(). Shapes: N rows, I inputs, O outputs, R rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

Weight = Tensor | Callable[[], Tensor]


def reference(x: Tensor, weight: Weight, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """By torch's operators, in the order of peft's layer."""
    result = linear(x, _dense(weight), bias)
    update = linear(linear(x.to(a.dtype), a), b) * scale
    return (result + update).to(result.dtype)


def fused(x: Tensor, weight: Weight, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """By one node of autograd.

    Raises:
        ValueError: weight or bias trains.
    """
    for name, tensor in (("weight", weight), ("bias", bias)):
        if isinstance(tensor, Tensor) and tensor.requires_grad:
            raise ValueError(f"{name} trains, and must be frozen: call requires_grad_(False) on it")
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    result: Tensor = LoraLinear.apply(x, weight, bias, a, b, scale)  # type: ignore[no-untyped-call]
    return result


class LoraLinear(torch.autograd.Function):
    """x W^T + c + s (x A^T) B^T, in the precision of x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Weight, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """Keeps x and x A^T; A and B as they are, in their own precision."""
        kind = x.device.type
        with torch.autocast(kind, enabled=False):
            x_NI = x.reshape(-1, x.shape[-1])
            frozen = None if bias is None else bias.to(x.dtype)
            y_NO = linear(x_NI, _dense(weight).to(x.dtype), frozen)
            inner_NR = linear(x_NI, a.to(x.dtype))
            y_NO.addmm_(inner_NR, b.to(x.dtype).t(), alpha=scale)
        dense = isinstance(weight, Tensor)
        ctx.save_for_backward(x_NI, inner_NR, a, b, *((weight,) if dense else ()))
        ctx.weight_of = None if dense else weight
        ctx.scale = scale
        return y_NO.view(*x.shape[:-1], y_NO.shape[-1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, a and b, each only where it is wanted."""
        x_NI, inner_NR, a, b, *dense = ctx.saved_tensors
        wants_x, _, _, wants_a, wants_b, _ = ctx.needs_input_grad
        with torch.autocast(grad.device.type, enabled=False):
            grad_NO = grad.reshape(-1, grad.shape[-1])
            of_b = torch.mm(grad_NO.t(), inner_NR).mul_(ctx.scale).to(b.dtype) if wants_b else None
            low_NR = torch.mm(grad_NO, b.to(grad.dtype)).mul_(ctx.scale)
            of_a = torch.mm(low_NR.t(), x_NI).to(a.dtype) if wants_a else None
            of_x = None
            if wants_x:
                weight = _dense(dense[0] if dense else ctx.weight_of).to(grad.dtype)
                of_x = torch.mm(grad_NO, weight).addmm_(low_NR, a.to(grad.dtype))
                of_x = of_x.view(*grad.shape[:-1], x_NI.shape[-1])
        return of_x, None, None, of_a, of_b, None


def _dense(weight: Weight) -> Tensor:
    return weight if isinstance(weight, Tensor) else weight()
