"""Training a part of the layers: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.freeze.config import FreezeConfig

freeze = Component(
    name="freeze",
    target="swift.tuners.freeze.tuner:FreezeTuner",
    config=FreezeConfig,
    summary="chosen layers of the model, as they are",
    attributes=(("adapter", False), ("paper", ""), ("source", "ours"), ("needs", "")),
)
