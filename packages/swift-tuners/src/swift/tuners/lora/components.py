"""LoRA and its variants: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.lora.config import (
    DoraConfig,
    EvaConfig,
    LoftqConfig,
    LoraConfig,
    LoraGaConfig,
    LoraPlusConfig,
    OloraConfig,
    PissaConfig,
    QloraConfig,
    RsloraConfig,
)

lora = Component(
    name="lora",
    target="swift.tuners.lora.tuner:LoraTuner",
    config=LoraConfig,
    summary="a low-rank product beside each chosen weight",
    attributes=(("adapter", True), ("paper", "arXiv 2106.09685"), ("source", "peft"), ("needs", "")),
)

rslora = Component(
    name="rslora",
    target="swift.tuners.lora.tuner:RsloraTuner",
    config=RsloraConfig,
    summary="lora whose scale keeps its size at high ranks",
    attributes=(("adapter", True), ("paper", "arXiv 2312.03732"), ("source", "peft"), ("needs", "")),
)

lora_plus = Component(
    name="lora+",
    target="swift.tuners.lora.tuner:LoraPlusTuner",
    config=LoraPlusConfig,
    summary="lora whose B learns faster than its A",
    attributes=(("adapter", True), ("paper", "arXiv 2402.12354"), ("source", "peft"), ("needs", "")),
)

dora = Component(
    name="dora",
    target="swift.tuners.lora.tuner:DoraTuner",
    config=DoraConfig,
    summary="lora for the direction of each weight, a vector for its magnitude",
    attributes=(("adapter", True), ("paper", "arXiv 2402.09353"), ("source", "peft"), ("needs", "")),
)

qlora = Component(
    name="qlora",
    target="swift.tuners.lora.tuner:QloraTuner",
    config=QloraConfig,
    summary="lora beside weights that are kept in 4 or 8 bits",
    attributes=(
        ("adapter", True),
        ("paper", "arXiv 2305.14314"),
        ("source", "peft"),
        ("needs", "bitsandbytes"),
    ),
)

pissa = Component(
    name="pissa",
    target="swift.tuners.lora.principal:PissaTuner",
    config=PissaConfig,
    summary="lora that starts at the principal singular vectors of the weights",
    attributes=(("adapter", True), ("paper", "arXiv 2404.02948"), ("source", "peft"), ("needs", "")),
)

olora = Component(
    name="olora",
    target="swift.tuners.lora.principal:OloraTuner",
    config=OloraConfig,
    summary="lora that starts at the QR decomposition of the weights",
    attributes=(("adapter", True), ("paper", "arXiv 2406.01775"), ("source", "peft"), ("needs", "")),
)

loftq = Component(
    name="loftq",
    target="swift.tuners.lora.loftq:LoftqTuner",
    config=LoftqConfig,
    summary="lora that starts at what quantisation loses",
    attributes=(
        ("adapter", True),
        ("paper", "arXiv 2310.08659"),
        ("source", "peft"),
        ("needs", "bitsandbytes"),
    ),
)

lora_ga = Component(
    name="lora-ga",
    target="swift.tuners.lora.gradient:LoraGaTuner",
    config=LoraGaConfig,
    summary="lora that starts along the gradient of the first batches",
    attributes=(
        ("adapter", True),
        ("paper", "arXiv 2407.05000"),
        ("source", "ours"),
        ("needs", "training batches"),
    ),
)

eva = Component(
    name="eva",
    target="swift.tuners.lora.activations:EvaTuner",
    config=EvaConfig,
    summary="lora that starts at the principal directions of the activations",
    attributes=(
        ("adapter", True),
        ("paper", "arXiv 2410.07170"),
        ("source", "peft"),
        ("needs", "training batches"),
    ),
)
