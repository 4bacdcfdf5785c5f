"""The objectives and rewards this package offers; loads no torch."""

from __future__ import annotations

from swift.core.registry import Component
from swift.rlhf.objectives.dpo.config import DPOConfig
from swift.rlhf.objectives.grpo.config import GRPOConfig

dpo = Component(
    name="dpo",
    target="swift.rlhf.objectives.dpo.objective:DPOObjective",
    config=DPOConfig,
    summary="prefer chosen over rejected answers, by log-ratios to a reference (arXiv 2305.18290)",
    attributes=(("task", "preference"), ("learning_rate", 1e-6)),
)

grpo = Component(
    name="grpo",
    target="swift.rlhf.objectives.grpo.objective:GRPOObjective",
    config=GRPOConfig,
    summary="learn from rewards of own answers, compared within a group (arXiv 2402.03300)",
    attributes=(("task", "prompt"), ("learning_rate", 1e-6)),
)

exact_match = Component(
    name="exact_match",
    target="swift.rlhf.reward.exact_match:exact_match",
    summary="1 when the answer equals the row's answer column, else 0",
)
