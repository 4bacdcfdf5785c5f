"""LoReFT: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.reft.config import ReftConfig

reft = Component(
    name="reft",
    target="swift.tuners.reft.tuner:ReftTuner",
    config=ReftConfig,
    summary="low-rank edits of the hidden states of chosen layers",
    attributes=(
        ("adapter", True),
        ("paper", "arXiv 2404.03592"),
        ("source", "ours"),
        ("needs", ""),
        ("mergeable", False),
    ),
)
