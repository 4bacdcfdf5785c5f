"""Full fine-tuning: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.full.config import FullConfig

full = Component(
    name="full",
    target="swift.tuners.full.tuner:FullTuner",
    config=FullConfig,
    summary="every parameter",
    attributes=(("adapter", False), ("paper", ""), ("source", "ours"), ("needs", "")),
)
