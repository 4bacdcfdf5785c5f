"""A linear layer for few rows, as decoding has them: the weight is read once, from where it lies.

Shapes: M rows, K in features, N out features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift.kernels._implementation import Implementation, use_native

if TYPE_CHECKING:
    import torch

FEWEST, MOST = 24, 512  # rows for which it is the quicker one; torch is asked for fewer and more


def suits(weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    """Whether the native code takes a weight [N, K] and bias [N]: float32, on the CPU, without gaps."""
    return _plain(weight) and (bias is None or _plain(bias))


def _plain(tensor: torch.Tensor) -> bool:
    import torch

    return tensor.dtype is torch.float32 and tensor.device.type == "cpu" and tensor.is_contiguous()


def skinny_linear(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    implementation: Implementation = "auto",
) -> torch.Tensor:
    """input weight^T + bias, without gradients: for inference.

    torch's own product copies the weight into another layout first, which for a few dozen rows takes longer
    than the product; keeping such a copy would be wrong as soon as the weight changes in place.

    Args:
        input: [..., K] with M rows in all.
        weight: [N, K]; bias: [N] or None.
        implementation: native code takes what suits() accepts and a float32 input; "auto" leaves everything
            else, and fewer than FEWEST or more than MOST rows, to torch.

    Returns:
        [..., N].

    Raises:
        ValueError: "native" was asked for and cannot take these tensors.
        RuntimeError: "native" was asked for and is not installed.
    """
    from torch.nn.functional import linear

    rows = input.numel() // max(1, input.shape[-1])
    native = use_native("skinny_linear", implementation)
    takes = suits(weight, bias) and input.dtype == weight.dtype and input.shape[-1] == weight.shape[1]
    if implementation == "native" and not takes:
        raise ValueError(
            f"skinny_linear: input {list(input.shape)} {input.dtype} and weight {list(weight.shape)} "
            f"{weight.dtype} on {weight.device} are not float32 without gaps on the CPU; "
            "pass implementation='auto'"
        )
    if native and takes and (implementation == "native" or FEWEST <= rows <= MOST):
        return _native(input, weight, bias, rows)
    return linear(input, weight, bias)


def _native(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, rows: int) -> torch.Tensor:
    import torch

    from swift.kernels import _native

    out = torch.empty((*input.shape[:-1], weight.shape[0]), dtype=torch.float32)
    whole = input.contiguous()
    _native.skinny_linear(
        (whole.data_ptr(), weight.data_ptr(), 0 if bias is None else bias.data_ptr(), out.data_ptr()),
        (rows, weight.shape[1], weight.shape[0]),
        torch.get_num_threads(),
    )
    return out
