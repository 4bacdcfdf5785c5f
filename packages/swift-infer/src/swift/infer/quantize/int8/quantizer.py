"""int8 as a method of export: SmoothQuant, then GPTQ on a grid of 8 bits with one scale a row."""

from __future__ import annotations

from functools import partial

from torch import nn

from swift.infer.quantize.blocks import Block
from swift.infer.quantize.compressed import weight_scheme
from swift.infer.quantize.gptq.solve import solve
from swift.infer.quantize.grid import Grid, Rounded, nearest
from swift.infer.quantize.int8.config import Int8Config
from swift.infer.quantize.int8.smooth import smooth
from swift.infer.quantize.job import Job
from swift.infer.quantize.llmcompressor.run import run_llmcompressor
from swift.infer.quantize.rounding import round_blocks, round_plainly, write
from swift.infer.quantize.statistics import InputStatistics

GRID = Grid(bits=8, group_size=None)


def quantize(job: Job, config: Int8Config) -> None:
    """Write int8 weights for int8 inputs, in the format of compressed-tensors.

    Raises:
        ModelError: the model is not made of linear layers, or they are connected in an unknown way.
    """
    if config.backend == "llmcompressor":
        run_llmcompressor(job, "int8", config)
        return
    if config.rounding == "nearest":
        scales = round_plainly(job, config.ignore, GRID)
    else:
        prepare = partial(smooth, strength=config.smoothing) if config.smoothing else _as_it_is
        scales = round_blocks(job, config.ignore, partial(_round_layer, config.damping), prepare)
    write(job, scales, weight_scheme(GRID, activations=True))


def _as_it_is(block: Block) -> Block:
    return block


def _round_layer(damping: float, name: str, layer: nn.Linear, seen: InputStatistics | None) -> Rounded:
    weight, dtype = layer.weight.float(), layer.weight.dtype
    if seen is None:
        return nearest(weight, GRID, dtype)
    return solve(weight, seen.gram, GRID, dtype, damping=damping)
