"""GPTQ as a method of export."""

from __future__ import annotations

from torch import nn

from swift.infer.quantize.compressed import weight_scheme
from swift.infer.quantize.gptq.config import GptqConfig
from swift.infer.quantize.gptq.solve import solve
from swift.infer.quantize.grid import Grid, Rounded, nearest
from swift.infer.quantize.job import Job
from swift.infer.quantize.llmcompressor.run import run_llmcompressor
from swift.infer.quantize.rounding import check_grid, round_blocks, round_plainly, write
from swift.infer.quantize.statistics import InputStatistics


def quantize(job: Job, config: GptqConfig) -> None:
    """Write weights on a grid of few bits, in the format of compressed-tensors.

    Raises:
        ModelError: group_size does not fit a layer, or the model is not made of linear layers.
    """
    if config.backend == "llmcompressor":
        run_llmcompressor(job, "gptq", config)
        return
    grid = Grid(config.bits, config.group_size, config.symmetric)
    check_grid(job, config.ignore, grid)

    def round_layer(name: str, layer: nn.Linear, seen: InputStatistics | None) -> Rounded:
        weight, dtype = layer.weight.float(), layer.weight.dtype
        if seen is None:
            job.say(f"{name}: no calibration token came here, plain rounding")
            return nearest(weight, grid, dtype)
        return solve(weight, seen.gram, grid, dtype, damping=config.damping, act_order=config.act_order)

    if config.rounding == "nearest":
        scales = round_plainly(job, config.ignore, grid)
    else:
        scales = round_blocks(job, config.ignore, round_layer)
    write(job, scales, weight_scheme(grid))
