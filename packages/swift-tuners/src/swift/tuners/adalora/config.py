"""Settings of AdaLoRA (arXiv 2303.10512)."""

from typing import Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from swift.core.config.schema import Names
from swift.tuners.target_config import TargetConfig


class AdaloraConfig(TargetConfig):
    """train: W + lora_alpha / r * B diag(E) A, whose least important triplets are dropped while training.

    Steps count from 1. Up to tinit every layer has init_r triplets; then their number falls by a cubic rule
    until tfinal steps before the end, from where on the kept ones, target_r a layer on average, are tuned.
    """

    init_r: PositiveInt = Field(12, description="triplets of each layer at the start")
    target_r: PositiveInt = Field(8, description="triplets a layer keeps on average")
    tinit: NonNegativeInt | None = Field(None, description="steps before the first is dropped; default: 10 %")
    tfinal: NonNegativeInt | None = Field(None, description="steps after the last is dropped; default: 20 %")
    total_step: PositiveInt | None = Field(None, description="steps of the training; default: the run's")
    deltaT: PositiveInt = Field(1, description="steps between two drops")
    adalora_beta1: float = Field(0.85, gt=0.0, lt=1.0, description="smoothing of each weight's sensitivity")
    adalora_beta2: float = Field(0.85, gt=0.0, lt=1.0, description="smoothing of its uncertainty")
    orth_reg_weight: NonNegativeFloat = Field(0.5, description="weight of |A A' - I|, |B' B - I| in the loss")
    lora_alpha: PositiveInt = Field(16, description="the update is scaled by lora_alpha / lora_rank")
    lora_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout before A while training")
    exclude_modules: Names = Field(default_factory=list, description="layers that get no adapter after all")
    layers_to_transform: list[NonNegativeInt] | None = Field(
        None, description="numbers of the blocks that get adapters; default: all"
    )

    @model_validator(mode="after")
    def _something_is_dropped(self) -> Self:
        if self.target_r >= self.init_r:
            raise ValueError(f"target_r {self.target_r} must be below init_r {self.init_r}")
        return self
