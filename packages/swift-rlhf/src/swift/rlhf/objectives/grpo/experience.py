"""Experience: roll-outs of the current policy with their rewards and advantages.

Shapes: P prompts, G completions of each, B = P G completions, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from swift.core.console import say
from swift.core.protocols import Reward
from swift.core.train.evaluate import evaluation_mode, to_device
from swift.core.types import Batch
from swift.rlhf.advantage.baseline import BASELINES
from swift.rlhf.advantage.discount import discounted
from swift.rlhf.advantage.scale import SCALES, group_std
from swift.rlhf.logprobs import batch_logprobs, learned
from swift.rlhf.objectives.grpo.batch import (
    COLUMNS,
    PROMPT_IDS,
    aligned_columns,
    collate_samples,
    repeat,
)
from swift.rlhf.objectives.grpo.config import ENVIRONMENT, GRPOConfig
from swift.rlhf.objectives.grpo.sampler import Sampler
from swift.rlhf.reference import Reference
from swift.rlhf.reward.score import Rewards, combine
from swift.rlhf.rollout.episodes import Sample

if TYPE_CHECKING:
    from swift.core.train.context import ObjectiveContext

OLD = "old_logps"
REFERENCE = "reference_logps"
ROW_METRICS = "row_metrics"
OWN = ("advantages", OLD, REFERENCE, ROW_METRICS)

NOTHING_LEARNED = (
    "grpo: within each of {groups} groups all rewards are equal (mean {mean:.3g}): nothing is learned. "
    "If it stays so, the task is too hard or too easy, the reward reads something else than intended, "
    "or train.temperature or train.num_generations is too small"
)


class Experience:
    """Makes prepared micro-batches out of prompts.

    Args:
        rewards: rewards that are not looked up in the registry.
    """

    def __init__(self, config: GRPOConfig, context: ObjectiveContext, rewards: Mapping[str, Reward]) -> None:
        self.config = config
        self.context = context
        self.pad_id = context.tokenizer.pad_token_id or 0
        self.rewards = Rewards(config.reward_funcs, rewards, context.parts)
        self.weights = config.reward_weights or [1.0] * len(config.reward_funcs)
        self.sampler = Sampler(config, context)
        if config.rollout is not None:
            self.weights = [*self.weights, 1.0]
        self.reference = Reference(context.load_reference, context.model_config)
        self._equal_before = False

    def gather(self, model: nn.Module, batches: Sequence[Batch], step: int) -> list[Batch]:
        """One prepared micro-batch for each batch of prompts.

        Raises:
            EngineError: a roll-out failed.
            SwiftError: a reward failed.
        """
        G = self.config.num_generations
        prompts = [prompt for batch in batches for prompt in batch[PROMPT_IDS]]
        rows = [row for batch in batches for row in batch[COLUMNS]]
        samples = self.sampler.draw(model, prompts, rows, step)
        scores = self._score(samples, rows)
        rewards_PG = torch.tensor(combine(scores, self.weights)).view(len(prompts), G)
        self._diagnose(rewards_PG)
        row_metrics = self._row_metrics(scores, rewards_PG, samples)
        advantages_B = self._advantages(rewards_PG).flatten()
        ready, start = [], 0
        for batch in batches:
            part = slice(start, start + len(batch[PROMPT_IDS]) * G)
            made = collate_samples(samples[part], self.pad_id)
            made["advantages"] = discounted(advantages_B[part], learned(made), self.config.gamma)
            made = to_device(made, cast(torch.device, self.context.device))
            made[ROW_METRICS] = {name: values[part] for name, values in row_metrics.items()}
            ready.append(self._with_logprobs(model, made))
            start = part.stop
        return ready

    def close(self) -> None:
        """Free the engine and the environments."""
        self.sampler.close()

    def _score(self, samples: Sequence[Sample], rows: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
        """Rewards by name; they read a sample's last answer, and the turns before it as its prompt."""
        columns = aligned_columns(repeat(rows, self.config.num_generations))
        scores = self.rewards(
            [sample.messages for sample in samples], [sample.completion.text for sample in samples], columns
        )
        if self.config.rollout is not None:
            scores[ENVIRONMENT] = [sample.reward for sample in samples]
        return scores

    def _advantages(self, rewards_PG: Tensor) -> Tensor:
        config = self.config
        centred_PG = rewards_PG - BASELINES[config.advantage_baseline](rewards_PG)
        return centred_PG / SCALES[config.scale_rewards](rewards_PG, config.std_epsilon)

    def _row_metrics(
        self, scores: Mapping[str, Sequence[float]], rewards_PG: Tensor, samples: Sequence[Sample]
    ) -> dict[str, Tensor]:
        """What is reported, one value a completion; a group's value counts for each of its completions."""
        std_PG = group_std(rewards_PG).expand_as(rewards_PG)
        equal_PG = equal_groups(rewards_PG).unsqueeze(1).expand_as(rewards_PG)
        completions = [sample.completion for sample in samples]
        several = {"turns": torch.tensor([float(sample.turns) for sample in samples])}
        return {
            "reward": rewards_PG.flatten(),
            "reward_std": std_PG.flatten(),
            "frac_reward_zero_std": equal_PG.flatten().float(),
            "completion_length": torch.tensor([float(sum(item.drawn)) for item in completions]),
            "completion_clipped": torch.tensor([float(not item.complete) for item in completions]),
            **(several if self.config.rollout is not None else {}),
            **{f"rewards/{name}": torch.tensor(values) for name, values in scores.items()},
        }

    def _with_logprobs(self, model: nn.Module, batch: Batch) -> Batch:
        """Log-probabilities that stay fixed while the policy moves, where the loss needs them."""
        temperature = self.config.temperature
        if self.config.num_iterations > 1:
            with evaluation_mode(model):
                batch[OLD] = batch_logprobs(model, batch, own=OWN, temperature=temperature).values
        if self.config.beta > 0:
            batch[REFERENCE] = self.reference.logprobs(model, batch, own=OWN, temperature=temperature)
        return batch

    def _diagnose(self, rewards_PG: Tensor) -> None:
        """Say once why nothing is learned, when the rewards within every group are equal."""
        equal = bool(equal_groups(rewards_PG).all()) and self.config.advantage_baseline != "none"
        if equal and not self._equal_before:
            say(NOTHING_LEARNED.format(groups=len(rewards_PG), mean=rewards_PG.mean().item()))
        self._equal_before = equal


def equal_groups(rewards_PG: Tensor) -> Tensor:
    """bool [P]: which prompts' completions all have the same reward."""
    return rewards_PG.amax(dim=1) == rewards_PG.amin(dim=1)
