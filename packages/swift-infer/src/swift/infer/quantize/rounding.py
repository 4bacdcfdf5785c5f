"""Rounding a model block by block, as methods share it: what differs is how a layer or a block is rounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from swift.infer.quantize.blocks import Block, calibrate, each_linear
from swift.infer.quantize.compressed import attach, save_compressed
from swift.infer.quantize.grid import Grid, Rounded, check_width, nearest
from swift.infer.quantize.job import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compressed_tensors.quantization import QuantizationScheme

    from swift.infer.quantize.statistics import InputStatistics

LOOKED_AT = 8
"""Rows by which the change of a block's output is told."""

RoundLayer = Callable[[str, nn.Linear, "InputStatistics | None"], Rounded]
"""(full name, layer, statistics of its inputs or None where it never ran) -> its weight on the grid."""

Scales = dict[nn.Linear, tuple[Tensor, Tensor]]


def check_grid(job: Job, ignore: Sequence[str], grid: Grid) -> None:
    """Every layer can be divided into groups.

    Raises:
        ModelError: one cannot, or the model is not made of linear layers.
    """
    for name, layer in each_linear(job.model, ignore):
        check_width(name, layer.in_features, grid)


def put(layer: nn.Linear, rounded: Rounded) -> tuple[Tensor, Tensor]:
    """Make the rounded weight the layer's own; (scale, zero)."""
    layer.weight.data.copy_(rounded.weight)
    return rounded.scale.cpu(), rounded.zero.cpu()


def round_plainly(job: Job, ignore: Sequence[str], grid: Grid) -> Scales:
    """Nearest points of the grid, without looking at data."""
    return {
        layer: put(layer, nearest(layer.weight.detach().float(), grid, layer.weight.dtype))
        for _, layer in each_linear(job.model, ignore)
    }


def round_blocks(
    job: Job,
    ignore: Sequence[str],
    round_layer: RoundLayer,
    before: Callable[[Block], Block] = lambda block: block,
) -> Scales:
    """Round every layer with what its inputs are, block after block.

    Args:
        before: changes a block so that it computes the same and is easier to round.
    """
    scales: Scales = {}

    def visit(block: Block) -> None:
        shown = range(min(len(job.rows), LOOKED_AT))
        was = [block.run(number) for number in shown]
        block = before(block)
        for name, layer in block.linears.items():
            rounded = round_layer(f"{block.name}.{name}", layer, block.statistics.get(name))
            scales[layer] = put(layer, rounded)
        change = relative_change(was, [block.run(number) for number in shown])
        job.say(f"{block.name}: {len(block.linears)} layers, output changed by {change:.2%}")

    calibrate(job.model, job.rows, ignore, job.device, visit)
    return scales


def relative_change(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """sqrt(sum ||a - b||^2 / sum ||b||^2) of outputs [1, T, d]."""
    difference = sum(
        float((b.float() - a.float()).square().sum()) for a, b in zip(after, before, strict=True)
    )
    size = sum(float(b.float().square().sum()) for b in before)
    return float((difference / size) ** 0.5) if size else 0.0


def write(job: Job, scales: Scales, scheme: QuantizationScheme) -> None:
    """Pack the rounded weights into the job's folder."""
    with torch.no_grad():
        for layer, (scale, zero) in scales.items():
            attach(layer, scale, zero, scheme)
        save_compressed(job.model, job.folder, job.max_shard_size)
