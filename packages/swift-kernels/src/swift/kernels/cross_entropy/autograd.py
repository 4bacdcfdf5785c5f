"""The loss of a linear head as one differentiable operation.

Shapes: N rows, H hidden width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from swift.kernels._implementation import Implementation, use_native
from swift.kernels.cross_entropy import reference, tiles
from swift.kernels.cross_entropy.plan import Plan, Scaling

TILE_BYTES = 2**21  # larger ones leave the cache, smaller ones let threads wait for each other more often
TILE_ROWS = 1024
TILE_COLUMNS = (256, 4096)  # fewest and most
VECTOR = 64  # columns
PART_BYTES = {"cpu": 2**26, "cuda": 2**29}  # of the reference's float32 logits
NATIVE_DTYPES = (torch.float32, torch.bfloat16)


def losses(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    scaling: Scaling,
    chunk: tuple[int, int] | None,
    implementation: Implementation,
    entropy: bool,
) -> tuple[Tensor, Tensor | None]:
    """nll [N] with gradient, and the entropies [N] without one where they are asked for."""
    check(hidden, weight, targets, bias)
    dtype = product_dtype(hidden)
    native = choose_native(hidden, weight, dtype, implementation)
    rows, columns = chunk or default_chunk(hidden, weight, dtype, native)
    trains = weight.requires_grad or (bias is not None and bias.requires_grad)
    now = torch.is_grad_enabled() and hidden.requires_grad and not trains
    plan = Plan(scaling, dtype, rows, columns, native, entropy, now)
    nll, entropies = LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden.to(dtype).contiguous(), weight, bias, targets.long().contiguous(), plan
    )
    return nll, entropies if entropy else None


class LinearCrossEntropy(torch.autograd.Function):
    """nll and entropies of hidden states [N, H] under the head (weight [V, H], bias [V] or None)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, plan: Plan
    ) -> tuple[Tensor, Tensor]:
        implementation = tiles if plan.native else reference
        with torch.autocast(hidden.device.type, enabled=False):
            found = implementation.forward(hidden, weight, bias, targets, plan)
        ctx.plan = plan
        if found.hidden_gradient is not None:
            ctx.save_for_backward(found.hidden_gradient.to(plan.dtype))
        else:
            ctx.save_for_backward(hidden, weight, bias, targets, found.log_total)
        entropy = hidden.new_zeros(0, dtype=torch.float32) if found.entropy is None else found.entropy
        ctx.mark_non_differentiable(entropy)
        return found.nll, entropy

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, row_gradient: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        plan: Plan = ctx.plan
        if plan.hidden_gradient_now:
            (hidden_gradient,) = ctx.saved_tensors
            return (hidden_gradient * row_gradient.unsqueeze(-1)).to(plan.dtype), None, None, None, None
        hidden, weight, bias, targets, log_total = ctx.saved_tensors
        implementation = tiles if plan.native else reference
        with torch.autocast(hidden.device.type, enabled=False):
            found = implementation.backward(
                row_gradient, hidden, weight, bias, targets, log_total, plan, ctx.needs_input_grad[:3]
            )
        return (
            None if found.hidden is None else found.hidden.to(hidden.dtype),
            None if found.weight is None else found.weight.to(weight.dtype),
            None if found.bias is None else found.bias.to(bias.dtype),
            None,
            None,
        )


def product_dtype(hidden: Tensor) -> torch.dtype:
    """Precision that a linear layer would compute in here."""
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def choose_native(hidden: Tensor, weight: Tensor, dtype: torch.dtype, implementation: Implementation) -> bool:
    """Whether the native code runs.

    Raises:
        ValueError: it was asked for, and these tensors are not for it.
        RuntimeError: it was asked for and is not installed.
    """
    fits = hidden.device.type == weight.device.type == "cpu" and dtype in NATIVE_DTYPES
    if fits:
        return use_native("linear_cross_entropy", implementation)
    if implementation == "native":
        raise ValueError(
            f"implementation is 'native', which computes on a CPU in float32 or bfloat16, not on "
            f"{hidden.device.type} in {dtype}; pass 'auto' or 'reference'"
        )
    return False


def default_chunk(hidden: Tensor, weight: Tensor, dtype: torch.dtype, native: bool) -> tuple[int, int]:
    """Rows and columns whose logits are in memory at once."""
    if native:
        # Parts of one size, and whole vectors of columns: products of odd sizes take up to twice as long.
        parts = max(1, -(-len(hidden) // TILE_ROWS))
        rows = max(1, -(-len(hidden) // parts))
        fewest, most = TILE_COLUMNS
        columns = TILE_BYTES // (rows * dtype.itemsize) // VECTOR * VECTOR
        return rows, min(max(columns, fewest), most)
    budget = PART_BYTES.get(hidden.device.type, PART_BYTES["cpu"])
    return max(1, budget // (4 * len(weight))), len(weight)


def check(hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None) -> None:
    """Shapes that belong together.

    Raises:
        ValueError: they do not, or a target is no column of the head.
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden is {tuple(hidden.shape)} and weight {tuple(weight.shape)}, they must be [N, H] and "
            "[V, H]; pick the supervised rows first"
        )
    if targets.shape != hidden.shape[:1] or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(
            f"targets is {tuple(targets.shape)}, it must be [{len(hidden)}], and a bias [{len(weight)}]; "
            "pass one target a row"
        )
    if targets.device.type == "cpu" and targets.numel():
        low, high = (int(bound) for bound in targets.aminmax())
        if low < 0 or high >= len(weight):
            raise ValueError(
                f"targets hold {low if low < 0 else high}, they must be in [0, {len(weight)}); "
                "leave ignored positions out"
            )
