"""FourierFT: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.fourierft.config import FourierftConfig

fourierft = Component(
    name="fourierft",
    target="swift.tuners.fourierft.tuner:FourierftTuner",
    config=FourierftConfig,
    summary="few coefficients of each weight change in the frequency domain",
    attributes=(("adapter", True), ("paper", "arXiv 2405.03003"), ("source", "peft"), ("needs", "")),
)
