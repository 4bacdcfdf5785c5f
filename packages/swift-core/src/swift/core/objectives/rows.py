"""Rows picked out of a model's output, brought to where the loss wants to have them.

Shapes: R rows of the output, N picked ones, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class HasRoom(Protocol):
    """A loss with memory of its own for inputs: shared with a plugin's process, say, and not copied there."""

    def empty_inputs(self, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
        """Memory for inputs, not initialised."""
        ...


class Rows:
    """source[index], made when it is asked for.

    Args:
        source_RV: a model's output.
        index_N: rows of it, each at most once, in their order.
    """

    def __init__(self, source_RV: Tensor, index_N: Tensor) -> None:
        self.source_RV = source_RV
        self.index_N = index_N

    def __len__(self) -> int:
        return len(self.index_N)

    def gathered(self) -> Tensor:
        """[N, V]; the source itself where all of it is picked, as in batches without padding."""
        return self.source_RV if len(self) == len(self.source_RV) else self.source_RV[self.index_N]

    def gathered_for(self, loss: Any) -> Tensor:
        """gathered(), in the memory of the loss where it has some and both are on the CPU.

        Raises:
            SwiftError: the loss failed to give it.
        """
        if self.source_RV.device.type != "cpu" or not isinstance(loss, HasRoom):
            return self.gathered()
        return _gather(self.source_RV, self.index_N, loss.empty_inputs)

    def alike(self) -> Tensor:
        """A tensor of the shape, device and requires_grad of gathered(), but with other values: no copy."""
        return self.source_RV[: len(self)]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source_RV: Tensor, index_N: Tensor, empty: Callable[..., Tensor]) -> Tensor:
        ctx.save_for_backward(index_N)
        ctx.rows = len(source_RV)
        gathered_NV = empty(source_RV.dtype, (len(index_N), *source_RV.shape[1:]))
        return torch.index_select(source_RV, 0, index_N, out=gathered_NV)

    @staticmethod
    def backward(ctx: Any, gradient_NV: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (index_N,) = ctx.saved_tensors
        zeros_RV = gradient_NV.new_zeros(ctx.rows, *gradient_NV.shape[1:])
        return zeros_RV.index_copy(0, index_N, gradient_NV), None, None


def _gather(source_RV: Tensor, index_N: Tensor, empty: Callable[..., Tensor]) -> Tensor:
    gathered: Tensor = _Gather.apply(source_RV, index_N, empty)  # type: ignore[no-untyped-call]
    return gathered
