"""AWQ as a method of export."""

from __future__ import annotations

from torch import nn

from swift.infer.quantize.awq.config import AwqConfig
from swift.infer.quantize.awq.search import best_bounds, best_factor
from swift.infer.quantize.blocks import Block
from swift.infer.quantize.compressed import weight_scheme
from swift.infer.quantize.fold import chains, check_same, fold
from swift.infer.quantize.grid import Grid, Rounded, nearest
from swift.infer.quantize.job import Job
from swift.infer.quantize.llmcompressor.run import run_llmcompressor
from swift.infer.quantize.rounding import check_grid, round_blocks, write
from swift.infer.quantize.statistics import InputStatistics


def quantize(job: Job, config: AwqConfig) -> None:
    """Write weights on a grid of few bits, in the format of compressed-tensors.

    Raises:
        ModelError: group_size does not fit a layer, or the model's layers are connected in an unknown way.
    """
    if config.backend == "llmcompressor":
        run_llmcompressor(job, "awq", config)
        return
    grid = Grid(config.bits, config.group_size, config.symmetric)
    check_grid(job, config.ignore, grid)

    def scaled(block: Block) -> Block:
        return scale_channels(block, grid, config.scale_steps)

    def round_layer(name: str, layer: nn.Linear, seen: InputStatistics | None) -> Rounded:
        weight, dtype = layer.weight.float(), layer.weight.dtype
        if seen is None or not config.clip_steps:
            return nearest(weight, grid, dtype)
        return nearest(weight, grid, dtype, best_bounds(weight, seen.gram, grid, config.clip_steps, dtype))

    scales = round_blocks(job, config.ignore, round_layer, scaled)
    write(job, scales, weight_scheme(grid))


def scale_channels(block: Block, grid: Grid, steps: int) -> Block:
    """The block with salient channels scaled up where something before them can be scaled down.

    Raises:
        ModelError: it no longer computes the same.
    """
    before = [block.run(0)]
    for chain in chains(block):
        weights = [block.linears[name].weight.float() for name in chain.names]
        factor = best_factor(weights, block.statistics[chain.names[0]], grid, steps)
        block = fold(block, chain, factor)
    check_same(block, before)
    return block
