"""The tuners this package offers; loads neither torch nor peft."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.full.config import FullConfig
from swift.tuners.lora.config import LoraConfig, QloraConfig

full = Component(
    name="full",
    target="swift.tuners.full.tuner:FullTuner",
    config=FullConfig,
    summary="every parameter trains",
    attributes=(("adapter", False),),
)

lora = Component(
    name="lora",
    target="swift.tuners.lora.tuner:LoraTuner",
    config=LoraConfig,
    summary="a low-rank product beside each chosen weight trains (arXiv 2106.09685)",
    attributes=(("adapter", True),),
)

qlora = Component(
    name="qlora",
    target="swift.tuners.lora.tuner:LoraTuner",
    config=QloraConfig,
    summary="lora beside weights that are kept in 4 or 8 bits (arXiv 2305.14314)",
    attributes=(("adapter", True),),
)
