"""The quantisation methods, as the registry knows them; loads neither torch nor a method.

quantize(job, config) of a method's own folder fills job.folder. A config with calibration_samples says that
the method reads job.rows.
"""

from __future__ import annotations

from swift.core.config.schema import Config
from swift.core.registry import Component
from swift.infer.quantize.awq.config import AwqConfig
from swift.infer.quantize.bnb_int8.config import BnbInt8Config
from swift.infer.quantize.bnb_nf4.config import BnbNf4Config
from swift.infer.quantize.fp8.config import Fp8Config
from swift.infer.quantize.gguf.config import GgufConfig
from swift.infer.quantize.gptq.config import GptqConfig
from swift.infer.quantize.int8.config import Int8Config


def _method(name: str, config: type[Config], summary: str) -> Component:
    folder = name.replace("-", "_")
    return Component(name, f"swift.infer.quantize.{folder}.quantizer:quantize", config, summary)


gptq = _method(
    "gptq", GptqConfig, "GPTQ: weights of few bits, errors corrected column by column on calibration data"
)
awq = _method("awq", AwqConfig, "AWQ: weights of few bits, salient channels scaled by activations")
fp8 = _method("fp8", Fp8Config, "FP8 weights and activations (W8A8), without data")
int8 = _method(
    "int8", Int8Config, "int8 weights and activations (W8A8), smoothed and corrected on calibration data"
)
bnb_nf4 = _method("bnb-nf4", BnbNf4Config, "bitsandbytes NF4: 4-bit weights, without data")
bnb_int8 = _method("bnb-int8", BnbInt8Config, "bitsandbytes LLM.int8(): 8-bit weights, without data")
gguf = _method("gguf", GgufConfig, "GGUF file for llama.cpp, without data")
