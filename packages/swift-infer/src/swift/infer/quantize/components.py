"""The quantisation methods, as the registry knows them; loads neither torch nor a method."""

from __future__ import annotations

from swift.core.registry import Component
from swift.infer.quantize.config import QuantizerConfig

gptq = Component(
    name="gptq",
    target="swift.infer.quantize.gptq.quantizer:quantize",
    config=QuantizerConfig,
    summary="GPTQ: int4 weights, errors corrected column by column on calibration data",
)
awq = Component(
    name="awq",
    target="swift.infer.quantize.awq.quantizer:quantize",
    config=QuantizerConfig,
    summary="AWQ: int4 weights, salient channels scaled by activations",
)
fp8 = Component(
    name="fp8",
    target="swift.infer.quantize.fp8.quantizer:quantize",
    config=QuantizerConfig,
    summary="FP8 weights and dynamic activations",
)
int8 = Component(
    name="int8",
    target="swift.infer.quantize.int8.quantizer:quantize",
    config=QuantizerConfig,
    summary="int8 weights and activations (W8A8)",
)
bnb_nf4 = Component(
    name="bnb-nf4",
    target="swift.infer.quantize.bnb_nf4.quantizer:quantize",
    config=QuantizerConfig,
    summary="bitsandbytes NF4: 4-bit weights, read by transformers",
)
bnb_int8 = Component(
    name="bnb-int8",
    target="swift.infer.quantize.bnb_int8.quantizer:quantize",
    config=QuantizerConfig,
    summary="bitsandbytes LLM.int8(): 8-bit weights, read by transformers",
)
gguf = Component(
    name="gguf",
    target="swift.infer.quantize.gguf.quantizer:quantize",
    config=QuantizerConfig,
    summary="GGUF file for llama.cpp, of any of its types",
)
