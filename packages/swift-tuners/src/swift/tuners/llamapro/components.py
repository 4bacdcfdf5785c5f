"""LLaMA Pro: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.llamapro.config import LlamaproConfig

llamapro = Component(
    name="llamapro",
    target="swift.tuners.llamapro.tuner:LlamaproTuner",
    config=LlamaproConfig,
    summary="new blocks between the frozen ones, which start as the identity",
    attributes=(("adapter", False), ("paper", "arXiv 2401.02415"), ("source", "ours"), ("needs", "")),
)
