"""Matrices in 4 bits: 16 evenly spaced values between the least and the greatest of each block."""

from __future__ import annotations

import torch
from torch import Tensor

from swift.tuners.optimizers.by_parameter import State

BLOCK = 256


def pack(values: Tensor) -> State:
    r"""Codes $q = \mathrm{round}((x - \min) / s)$ with $s = (\max - \min) / 15$ in each block of 256.

    Args:
        values: any shape, float32.

    Returns:
        codes, two in a byte; low and step, `[blocks, 1]`; shape.
    """
    flat = values.flatten()
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    low, high = padded.amin(1, keepdim=True), padded.amax(1, keepdim=True)
    step = (high - low).div_(15).clamp_(min=torch.finfo(torch.float32).tiny)
    codes = ((padded - low) / step).round_().clamp_(0, 15).to(torch.uint8)
    return {
        "codes": codes[:, 0::2] << 4 | codes[:, 1::2],
        "low": low,
        "scale": step,
        "shape": list(values.shape),
    }


def unpack(packed: State) -> Tensor:
    """The values, each at most half a step from what it was."""
    codes = packed["codes"]
    both = torch.stack((codes >> 4, codes & 15), dim=-1).flatten(1).float()
    shape = packed["shape"]
    flat = both.mul_(packed["scale"]).add_(packed["low"]).flatten()
    return flat[: torch.Size(shape).numel()].view(shape)
