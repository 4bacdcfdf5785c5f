"""SmoothQuant's scales (Xiao et al., "SmoothQuant", 2022, equation 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from swift.infer.quantize.blocks import Block
from swift.infer.quantize.fold import chains, check_same, fold

SMALLEST = 1e-5


def smoothing_factor(weights: Sequence[Tensor], peak: Tensor, strength: float) -> Tensor:
    """s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) [C]; inputs are divided by it, weights multiplied.

    Args:
        weights: [R_i, C] of the layers that share the inputs.
        peak: max|x_j| [C].
        strength: alpha.
    """
    largest = torch.stack([weight.abs().amax(0) for weight in weights]).amax(0).clamp(min=SMALLEST)
    return (peak.clamp(min=SMALLEST) ** strength / largest ** (1 - strength)).clamp(min=SMALLEST)


def smooth(block: Block, strength: float) -> Block:
    """The block with the spread of inputs moved into weights.

    Raises:
        ModelError: it no longer computes the same.
    """
    before = [block.run(0)]
    for chain in chains(block):
        weights = [block.linears[name].weight.float() for name in chain.names]
        block = fold(block, chain, smoothing_factor(weights, block.statistics[chain.names[0]].peak, strength))
    check_same(block, before)
    return block
