"""LISA: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.lisa.config import LisaConfig

lisa = Component(
    name="lisa",
    target="swift.tuners.lisa.tuner:LisaTuner",
    config=LisaConfig,
    summary="a few layers at a time, drawn anew every so many steps",
    attributes=(("adapter", False), ("paper", "arXiv 2403.17919"), ("source", "ours"), ("needs", "")),
)
