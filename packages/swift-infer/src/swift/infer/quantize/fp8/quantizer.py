"""FP8 as a method of export: s = max|w| / 448 for each row, w' = fp8(w / s) s."""

from __future__ import annotations

import torch
from torch import Tensor

from swift.infer.quantize.blocks import each_linear
from swift.infer.quantize.compressed import float8_scheme
from swift.infer.quantize.fp8.config import Fp8Config
from swift.infer.quantize.grid import Rounded
from swift.infer.quantize.job import Job
from swift.infer.quantize.llmcompressor.run import run_llmcompressor
from swift.infer.quantize.rounding import put, write

E4M3 = torch.float8_e4m3fn
LARGEST = torch.finfo(E4M3).max


def quantize(job: Job, config: Fp8Config) -> None:
    """Write FP8 weights, in the format of compressed-tensors; needs no data.

    Raises:
        ModelError: the model is not made of linear layers.
    """
    if config.backend == "llmcompressor":
        run_llmcompressor(job, "fp8", config)
        return
    scales = {
        layer: put(layer, to_float8(layer.weight.detach().float(), layer.weight.dtype))
        for _, layer in each_linear(job.model, config.ignore)
    }
    write(job, scales, float8_scheme())


def to_float8(weight: Tensor, dtype: torch.dtype) -> Rounded:
    """The nearest FP8 numbers of a float32 weight [R, C], with a scale [R, 1] stored as dtype."""
    scale = (weight.abs().amax(1, keepdim=True) / LARGEST).to(dtype).float()
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    small = (weight / scale).clamp(-LARGEST, LARGEST).to(E4M3)
    return Rounded(small.float() * scale, scale, torch.zeros_like(scale))
