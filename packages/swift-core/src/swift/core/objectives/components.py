"""The objectives of swift-core, declared without loading torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from swift.core.config.schema import Config
from swift.core.registry import Component


class CausalLMConfig(Config):
    """Next-token prediction on the learned tokens."""

    loss_type: str = Field("cross_entropy", description="cross_entropy, or the name of a registered loss")
    loss_config: dict[str, Any] = Field(default_factory=dict, description="arguments of a registered loss")


SFT = Component(
    name="sft",
    target="swift.core.objectives.causal_lm:CausalLMObjective",
    config=CausalLMConfig,
    summary="learn the assistant's turns of conversations",
    attributes=(("task", "causal_lm"),),
)

PT = Component(
    name="pt",
    target="swift.core.objectives.causal_lm:CausalLMObjective",
    config=CausalLMConfig,
    summary="learn every token of plain text",
    attributes=(("task", "text"),),
)
