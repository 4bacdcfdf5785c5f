"""VeRA: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.vera.config import VeraConfig

vera = Component(
    name="vera",
    target="swift.tuners.vera.tuner:VeraTuner",
    config=VeraConfig,
    summary="vectors that scale one frozen random product shared by all layers",
    attributes=(("adapter", True), ("paper", "arXiv 2310.11454"), ("source", "peft"), ("needs", "")),
)
