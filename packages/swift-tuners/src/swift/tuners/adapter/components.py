"""Bottleneck adapters: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.adapter.config import AdapterConfig

adapter = Component(
    name="adapter",
    target="swift.tuners.adapter.tuner:AdapterTuner",
    config=AdapterConfig,
    summary="a small bottleneck after each attention and feed-forward block",
    attributes=(
        ("adapter", True),
        ("paper", "arXiv 1902.00751"),
        ("source", "ours"),
        ("needs", ""),
        ("mergeable", False),
    ),
)
