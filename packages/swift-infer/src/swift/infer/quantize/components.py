"""The quantisation methods, as the registry knows them; loads neither torch nor a method.

Each target is called as quantize(job, config) and fills job.folder. A config with calibration_samples says
that the method reads job.rows.
"""

from __future__ import annotations

from swift.core.registry import Component
from swift.infer.quantize.awq.config import AwqConfig
from swift.infer.quantize.bnb_int8.config import BnbInt8Config
from swift.infer.quantize.bnb_nf4.config import BnbNf4Config
from swift.infer.quantize.fp8.config import Fp8Config
from swift.infer.quantize.gguf.config import GgufConfig
from swift.infer.quantize.gptq.config import GptqConfig
from swift.infer.quantize.int8.config import Int8Config

gptq = Component(
    name="gptq",
    target="swift.infer.quantize.gptq.quantizer:quantize",
    config=GptqConfig,
    summary="GPTQ: weights of few bits, errors corrected column by column on calibration data",
)
awq = Component(
    name="awq",
    target="swift.infer.quantize.awq.quantizer:quantize",
    config=AwqConfig,
    summary="AWQ: weights of few bits, salient channels scaled by activations",
)
fp8 = Component(
    name="fp8",
    target="swift.infer.quantize.fp8.quantizer:quantize",
    config=Fp8Config,
    summary="FP8 weights and activations (W8A8), without data",
)
int8 = Component(
    name="int8",
    target="swift.infer.quantize.int8.quantizer:quantize",
    config=Int8Config,
    summary="int8 weights and activations (W8A8), smoothed and corrected on calibration data",
)
bnb_nf4 = Component(
    name="bnb-nf4",
    target="swift.infer.quantize.bnb_nf4.quantizer:quantize",
    config=BnbNf4Config,
    summary="bitsandbytes NF4: 4-bit weights, without data",
)
bnb_int8 = Component(
    name="bnb-int8",
    target="swift.infer.quantize.bnb_int8.quantizer:quantize",
    config=BnbInt8Config,
    summary="bitsandbytes LLM.int8(): 8-bit weights, without data",
)
gguf = Component(
    name="gguf",
    target="swift.infer.quantize.gguf.quantizer:quantize",
    config=GgufConfig,
    summary="GGUF file for llama.cpp, without data",
)
