"""The objectives of swift-core, declared without loading torch."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from swift.core.config.named import LossType, losses_of
from swift.core.config.schema import Config
from swift.core.registry import Component


class CausalLMConfig(Config):
    """Next-token prediction on the learned tokens."""

    loss_type: LossType = Field(
        "cross_entropy", description="a registered loss, or several: [{name, weight, config}, ...]"
    )
    loss_config: dict[str, Any] = Field(default_factory=dict, description="arguments of the one loss")

    @model_validator(mode="after")
    def _arguments_have_one_owner(self) -> CausalLMConfig:
        losses_of(self.loss_type, self.loss_config)
        return self


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

CROSS_ENTROPY = Component(
    name="cross_entropy",
    target="swift.core.objectives.losses:cross_entropy",
    summary="-log of the target's probability",
)

LABEL_SMOOTHING = Component(
    name="label_smoothing",
    target="swift.core.objectives.losses:LabelSmoothing",
    summary="cross-entropy with a share epsilon of the targets spread over all classes",
)
