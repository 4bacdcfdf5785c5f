"""A frozen linear layer with a low-rank update, keeping only what the gradients of the update need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

LoraImplementation = Literal["fused", "reference"]
"""`fused`: gradients written out; `reference`: torch's operators and their autograd."""


def lora_linear(
    x: Tensor,
    weight: Tensor | Callable[[], Tensor],
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    scale: float,
    *,
    implementation: LoraImplementation = "fused",
) -> Tensor:
    r"""A linear layer whose weight is frozen, and its low-rank update, which trains.

    $$ y = x W^\top + c + s\,(x A^\top) B^\top $$
    $$ \partial A = (s\,g B)^\top x, \qquad \partial B = s\,g^\top (x A^\top), \qquad
       \partial x = g W + (s\,g B) A $$

    Kept for the backward pass are x and $x A^\top$, of which the first is usually kept by a neighbour anyway.
    The update is added into the output of the frozen layer, so that no second tensor of the output's size
    exists, and neither does a copy of x in the precision of A and B, which torch's operators would keep.

    The arithmetic has autocast's precision where autocast is on, else that of x; gradients of A and B have
    theirs.

    Args:
        x: `[..., I]`.
        weight: frozen `[O, I]`; or a function that returns it, such as the dequantisation of one kept in few
            bits, which is then called in each pass instead of keeping the result.
        bias: frozen `[O]`.
        a: `[R, I]`.
        b: `[O, R]`.
        scale: s.

    Returns:
        `[..., O]`, differentiable once for x, a and b.

    Raises:
        ValueError: an unknown implementation, or a weight or bias that trains.

    References:
        Hu et al., "LoRA", arXiv:2106.09685.
    """
    from swift.kernels.lora_autograd import fused, reference

    if implementation not in get_args(LoraImplementation):
        raise ValueError(
            f"implementation is {implementation!r}, it must be one of {get_args(LoraImplementation)}"
        )
    return (fused if implementation == "fused" else reference)(x, weight, bias, a, b, scale)
