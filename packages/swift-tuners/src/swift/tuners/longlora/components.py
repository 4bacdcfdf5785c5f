"""LongLoRA: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.longlora.config import LongloraConfig

longlora = Component(
    name="longlora",
    target="swift.tuners.longlora.tuner:LongloraTuner",
    config=LongloraConfig,
    summary="lora, norms and embeddings, with attention in shifted groups",
    attributes=(("adapter", True), ("paper", "arXiv 2309.12307"), ("source", "ours"), ("needs", "")),
)
