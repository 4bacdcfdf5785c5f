"""Samples of the current policy: one answer to each prompt, or an episode with an environment.

Shapes: P prompts, G samples of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from swift.core.engines import build_engine
from swift.core.train.evaluate import evaluation_mode
from swift.core.types import Message, SamplingParams
from swift.rlhf.objectives.grpo.batch import MESSAGES, repeat
from swift.rlhf.objectives.grpo.config import GRPOConfig
from swift.rlhf.rollout import request_seed, roll_out
from swift.rlhf.rollout.environments import Environments
from swift.rlhf.rollout.episodes import Episodes, Limits, Sample
from swift.rlhf.rollout.policy import Policy

if TYPE_CHECKING:
    from swift.core.train.context import ObjectiveContext


class Sampler:
    """Lets the policy answer prompts.

    Raises:
        RegistryError: unknown rollout.
        PluginError: the rollout cannot be built.
    """

    def __init__(self, config: GRPOConfig, context: ObjectiveContext) -> None:
        self.config = config
        self.context = context
        self.episodes = episodes_of(config, context)
        self._policy: Policy | None = None

    def draw(
        self,
        model: nn.Module,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[Mapping[str, Any]],
        step: int,
    ) -> list[Sample]:
        """G samples of each prompt, prompt by prompt.

        Args:
            rows: the columns of each prompt, its turns among them.
            step: with the run's seed and a sample's number it decides what is drawn.

        Raises:
            EngineError: a roll-out failed.
            PluginError: the environment failed.
        """
        context, config = self.context, self.config
        G = config.num_generations
        first = context.rank * len(prompts) * G
        sampling = SamplingParams(max_tokens=config.max_completion_length, temperature=config.temperature)
        turns = [self._turns(prompt, row) for prompt, row in zip(prompts, rows, strict=True)]
        pairs = zip(repeat(prompts, G), repeat(turns, G), strict=True)
        samples = [Sample(list(prompt), messages) for prompt, messages in pairs]
        with evaluation_mode(model):
            engine = self._ready_policy(model)
            if self.episodes is None:
                drawn = roll_out(
                    engine, prompts, G, sampling, seed=context.seed, step=step, first_index=first
                )
                for sample, completion in zip(samples, drawn, strict=True):
                    sample.completion = completion
                return samples
            return self.episodes.play(
                engine,
                samples,
                repeat([_without_turns(row) for row in rows], G),
                sampling,
                lambda index, turn: request_seed(context.seed, step, first + index, turn),
                context_length(model),
            )

    def close(self) -> None:
        """Free the engine and the environments."""
        if self._policy is not None:
            self._policy.close()
            self._policy = None
        if self.episodes is not None:
            self.episodes.close()

    def _ready_policy(self, model: nn.Module) -> Policy:
        context = self.context
        if self._policy is None:
            engine = build_engine(
                context.engine_name,
                context.engine_config,
                model,
                context.tokenizer,
                context.model_config,
                seed=context.seed,
                adapted=False,
            )
            self._policy = Policy(engine, context.save_adapter)
        self._policy.follow(model)  # the optimiser has changed the weights
        return self._policy

    def _turns(self, prompt: Sequence[int], row: Mapping[str, Any]) -> list[Message]:
        """The turns of a prompt; a plain-text one as a single turn."""
        turns: list[Message] = row.get(MESSAGES) or [
            {"role": "user", "content": self.context.tokenizer.decode(prompt)}
        ]
        return turns


def episodes_of(config: GRPOConfig, context: ObjectiveContext) -> Episodes | None:
    """What plays the configured rollout, or None without one."""
    if config.rollout is None:
        return None
    limits = Limits(config.max_turns, config.max_completion_length, config.max_rollout_length)
    environments = Environments(config.rollout, config.rollout_config, context.parts)
    return Episodes(environments, context.tokenizer, limits)


def context_length(model: nn.Module) -> int | None:
    """Tokens that the model has positions for, where it says so."""
    architecture: Any = getattr(getattr(model, "module", model), "config", None)
    if not hasattr(architecture, "get_text_config"):
        return None
    length: int | None = getattr(architecture.get_text_config(), "max_position_embeddings", None)
    return length


def _without_turns(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != MESSAGES}
