"""Prompt and prefix tuning: what is known before anything is loaded."""

from __future__ import annotations

from swift.core.registry import Component
from swift.tuners.soft_prompts.config import PrefixConfig, PromptConfig

prompt = Component(
    name="prompt",
    target="swift.tuners.soft_prompts.tuner:PromptTuner",
    config=PromptConfig,
    summary="embeddings of virtual tokens before the input",
    attributes=(
        ("adapter", True),
        ("paper", "arXiv 2104.08691"),
        ("source", "peft"),
        ("needs", ""),
        ("mergeable", False),
        ("packs", False),
    ),
)

prefix = Component(
    name="prefix",
    target="swift.tuners.soft_prompts.tuner:PrefixTuner",
    config=PrefixConfig,
    summary="keys and values of virtual tokens in every layer",
    attributes=(
        ("adapter", True),
        ("paper", "arXiv 2101.00190"),
        ("source", "peft"),
        ("needs", ""),
        ("mergeable", False),
        ("packs", False),
    ),
)
