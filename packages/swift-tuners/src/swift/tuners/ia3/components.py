"""(IA)^3: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.ia3.config import Ia3Config

ia3 = Component(
    name="ia3",
    target="swift.tuners.ia3.tuner:Ia3Tuner",
    config=Ia3Config,
    summary="vectors that scale keys, values and feed-forward activations",
    attributes=(("adapter", True), ("paper", "arXiv 2205.05638"), ("source", "peft"), ("needs", "")),
)
