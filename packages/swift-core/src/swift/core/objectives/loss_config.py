"""The two keys that choose a loss; every objective with a replaceable loss has them."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from swift.core.config.named import LossType, Weighted, losses_of
from swift.core.config.schema import Config

AUTO = "auto"


class LossConfig(Config):
    """train: which loss, by name, with its arguments."""

    loss_type: LossType = Field(
        AUTO, description="a registered loss, or several: [{name, weight, config}, ...]; auto: the usual one"
    )
    loss_config: dict[str, Any] = Field(default_factory=dict, description="arguments of the one loss")

    @model_validator(mode="after")
    def _arguments_have_one_owner(self) -> Self:
        losses_of(self.loss_type, self.loss_config)
        return self

    def losses(self, usual: str) -> list[Weighted]:
        """The terms of the loss; `usual` is what auto means."""
        return losses_of(usual if self.loss_type == AUTO else self.loss_type, self.loss_config)
