"""OFT and BOFT: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.orthogonal.config import BoftConfig, OftConfig

oft = Component(
    name="oft",
    target="swift.tuners.orthogonal.tuner:OftTuner",
    config=OftConfig,
    summary="an orthogonal block-diagonal rotation of each weight",
    attributes=(("adapter", True), ("paper", "arXiv 2306.07280"), ("source", "peft"), ("needs", "")),
)

boft = Component(
    name="boft",
    target="swift.tuners.orthogonal.tuner:BoftTuner",
    config=BoftConfig,
    summary="an orthogonal rotation of each weight in butterfly factors",
    attributes=(("adapter", True), ("paper", "arXiv 2311.06243"), ("source", "peft"), ("needs", "")),
)
