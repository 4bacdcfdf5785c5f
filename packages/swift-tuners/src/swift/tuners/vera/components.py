"""VeRA: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component

vera = Component(
    name="vera",
    target="swift.tuners.vera.tuner:VeraTuner",
    summary="vectors that scale one frozen random product shared by all layers",
    attributes=(("adapter", True), ("paper", "arXiv 2310.11454"), ("source", "peft"), ("needs", "")),
)
