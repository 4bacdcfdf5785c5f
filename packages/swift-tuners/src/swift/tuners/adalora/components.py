"""AdaLoRA: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.adalora.config import AdaloraConfig

adalora = Component(
    name="adalora",
    target="swift.tuners.adalora.tuner:AdaloraTuner",
    config=AdaloraConfig,
    summary="lora whose ranks move to the layers that need them",
    attributes=(("adapter", True), ("paper", "arXiv 2303.10512"), ("source", "peft"), ("needs", "")),
)
