"""Settings of group relative policy optimisation and its relatives."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from swift.core.config.named import Named, NamedParts, PartsOf
from swift.core.config.schema import Config, NonNegative
from swift.rlhf.algorithms import ALGORITHMS

ENVIRONMENT = "environment"  # name of the rewards that a rollout gives

_UNFILTERED = "a filtered draw comes from another distribution than the one that trains"


class GRPOConfig(Config):
    """train: sample answers, reward them, prefer the better ones of each prompt (arXiv 2402.03300).

    per_device_train_batch_size counts prompts: a micro-batch of the model holds num_generations times as many
    completions.
    """

    reward_funcs: Annotated[NamedParts, PartsOf("reward")] = Field(
        default_factory=list,
        description="rewards: a name, {name, config}, or a list of them; their weighted sum counts",
    )
    reward_weights: list[float] | None = Field(None, description="factor of each reward; default: 1 for each")
    num_generations: PositiveInt = Field(8, description="completions of each prompt that are compared")
    max_completion_length: PositiveInt = Field(
        256, description="longest completion, in tokens; with a rollout all answers of a sample together"
    )
    rollout: str | None = Field(
        None, description="registered environment or multi-turn scheduler; default: one answer a prompt"
    )
    rollout_config: dict[str, Any] = Field(default_factory=dict, description="its arguments")
    max_turns: PositiveInt = Field(8, description="answers of a sample; needs a rollout")
    max_rollout_length: PositiveInt | None = Field(
        None, description="tokens behind the prompt, replies of the rollout included; default: any number"
    )
    temperature: float = Field(1.0, gt=0, description="of the sampling; enters the log-probabilities as well")
    top_p: float = Field(1.0, description="only 1: tokens are drawn from the very distribution that trains")
    top_k: int = Field(0, description="only 0: tokens are drawn from the very distribution that trains")
    loss_type: str = Field("grpo", description=f"what the loss is a mean over: {', '.join(ALGORITHMS)}")
    epsilon: NonNegative = Field(0.2, description="the ratio is clipped below 1 - epsilon")
    epsilon_high: float | None = Field(None, ge=0, description="and above 1 + epsilon_high; default: epsilon")
    beta: float = Field(
        0.0, ge=0, description="weight of the KL divergence to the reference (k3); 0: no reference is kept"
    )
    advantage_baseline: Literal["group_mean", "leave_one_out", "none"] = Field(
        "group_mean", description="what is subtracted from a completion's reward"
    )
    scale_rewards: Literal["group", "none"] = Field(
        "group", description="divide by the standard deviation of the group's rewards, or not"
    )
    std_epsilon: NonNegative = Field(1e-4, description="added to that standard deviation")
    gamma: float = Field(1.0, gt=0, le=1, description="discount: the t-th of n tokens gets gamma^(n-1-t) A")
    num_iterations: PositiveInt = Field(1, description="optimiser steps on the same roll-outs")

    @field_validator("reward_funcs")
    @classmethod
    def _distinct(cls, value: list[Named]) -> list[Named]:
        names = [item.name for item in value]
        if len(set(names)) < len(names):
            raise ValueError("a reward is named twice: give it a weight instead")
        if ENVIRONMENT in names:
            raise ValueError(f"{ENVIRONMENT!r} is what the rewards of a rollout are called")
        return value

    @field_validator("loss_type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ALGORITHMS:
            raise ValueError(f"grpo knows {', '.join(ALGORITHMS)}")
        return value

    @field_validator("top_p")
    @classmethod
    def _no_nucleus(cls, value: float) -> float:
        if value != 1.0:
            raise ValueError("must be 1: " + _UNFILTERED)
        return value

    @field_validator("top_k")
    @classmethod
    def _no_shortlist(cls, value: int) -> int:
        if value != 0:
            raise ValueError("must be 0: " + _UNFILTERED)
        return value

    @model_validator(mode="after")
    def _rewarded(self) -> GRPOConfig:
        if not self.reward_funcs and self.rollout is None:
            raise ValueError("name at least one reward, such as exact_match")
        if self.reward_weights is not None and len(self.reward_weights) != len(self.reward_funcs):
            raise ValueError(
                f"{len(self.reward_weights)} reward_weights for {len(self.reward_funcs)} reward_funcs"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> GRPOConfig:
        if self.num_generations < 2 and self.advantage_baseline != "none":
            raise ValueError(
                "num_generations must be at least 2: a group of one has no better or worse completion"
            )
        return self

    @model_validator(mode="after")
    def _rolled_out(self) -> GRPOConfig:
        if self.rollout is None:
            given = {"rollout_config", "max_turns", "max_rollout_length"} & self.model_fields_set
            changed = sorted(
                name
                for name in given
                if getattr(self, name) != type(self).model_fields[name].get_default(call_default_factory=True)
            )
            if changed:
                raise ValueError(f"{changed[0]} needs a rollout: name one")
        elif self.max_rollout_length is not None and self.max_rollout_length < self.max_completion_length:
            raise ValueError("max_rollout_length must be at least max_completion_length")
        return self
