"""Group relative policy optimisation (arXiv 2402.03300) and its relatives.

Shapes: P prompts, G completions of each, B = P G completions, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from swift.core.errors import ConfigError
from swift.core.protocols import Objective, Reward
from swift.core.types import Batch, Encoded, LossOutput, Metric, Task
from swift.rlhf.aggregate import AGGREGATIONS
from swift.rlhf.algorithms import ALGORITHMS
from swift.rlhf.kl import k3
from swift.rlhf.logprobs import TokenLogprobs, batch_logprobs, learned
from swift.rlhf.objectives.grpo.batch import collate_prompts
from swift.rlhf.objectives.grpo.config import GRPOConfig
from swift.rlhf.objectives.grpo.experience import OLD, OWN, REFERENCE, ROW_METRICS, Experience
from swift.rlhf.ratio import token as token_ratio
from swift.rlhf.surrogate import clipped, outside_clip

if TYPE_CHECKING:
    from swift.core.train.context import ObjectiveContext


class GRPOObjective(Objective):
    """loss = aggregate(clipped(ratio, A) + beta * k3), A from the rewards of a prompt's own completions.

    With num_iterations = m, prepare() makes roll-outs at every m-th step and returns the same ones, with the
    log-probabilities of the policy that drew them, at the m - 1 steps that follow.

    Args:
        rewards: rewards by name, for those that are not registered.

    Raises:
        RegistryError: unknown engine or reward.
        ConfigError: packed or padding-free batches are asked for.
    """

    task: ClassVar[Task] = "prompt"

    def __init__(
        self, config: GRPOConfig, context: ObjectiveContext, rewards: Mapping[str, Reward] | None = None
    ) -> None:
        if context.flat:
            raise ConfigError("grpo trains on padded rows", "unset data.packing and data.padding_free")
        self.config = config
        self.aggregation = AGGREGATIONS[ALGORITHMS[config.loss_type].aggregation]
        self.epsilon_high = config.epsilon if config.epsilon_high is None else config.epsilon_high
        self.experience = Experience(config, context, rewards or {})
        self._kept: list[Batch] = []

    def collate(self, examples: Sequence[Encoded]) -> Batch:
        """Prompts as token ids and what rewards read of their rows; nothing is padded yet."""
        return collate_prompts(examples)

    def prepare(self, model: nn.Module, batches: list[Batch], step: int) -> list[Batch]:
        """Turn prompts into rewarded completions; one engine call for all of them."""
        training = (
            torch.is_grad_enabled()
        )  # evaluation runs without gradients and must not disturb what is kept
        if training and step % self.config.num_iterations != 0 and len(self._kept) == len(batches):
            return self._kept
        ready = self.experience.gather(model, batches, step)
        if training and self.config.num_iterations > 1:
            self._kept = ready
        return ready

    def count(self, batch: Batch) -> Tensor:
        """What the aggregation divides by: tokens, completions, ... [scalar]."""
        return self.aggregation.count(learned(batch), self.config.max_completion_length)

    def loss(self, model: nn.Module, batch: Batch, normalizer: Tensor) -> LossOutput:
        """Policy loss (and KL divergence) of this micro-batch, divided by normalizer."""
        config = self.config
        tokens = batch_logprobs(model, batch, own=OWN, temperature=config.temperature, entropy=True)
        # With one update for each roll-out the policy that drew the tokens is the one that trains: ratio 1.
        old = batch.get(OLD, tokens.values.detach())
        ratio = token_ratio(tokens.values, old, tokens.mask)
        losses = clipped(ratio, batch["advantages"], config.epsilon, self.epsilon_high)
        kl = None
        if config.beta > 0:
            kl = k3(tokens.values, batch[REFERENCE])
            losses = losses + config.beta * kl
        total = self.aggregation.total(losses, tokens.mask)
        return LossOutput(total / normalizer, self._metrics(batch, tokens, ratio.detach(), kl))

    def _metrics(
        self, batch: Batch, tokens: TokenLogprobs, ratio: Tensor, kl: Tensor | None
    ) -> dict[str, Metric]:
        low, high = outside_clip(ratio, batch["advantages"], self.config.epsilon, self.epsilon_high)
        by_token = {"entropy": tokens.entropy, "clip_ratio/low": low, "clip_ratio/high": high, "kl": kl}
        count = tokens.mask.sum()
        metrics = {name: Metric(value.sum(), value.numel()) for name, value in batch[ROW_METRICS].items()}
        for name, value in by_token.items():
            if value is not None:
                metrics[name] = Metric((value.detach() * tokens.mask).sum(), count)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """The roll-outs that following steps train on again."""
        return {"kept": [_to_cpu(batch) for batch in self._kept]} if self._kept else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore state_dict()."""
        self._kept = list(state.get("kept", []))

    def close(self) -> None:
        """Free the engine."""
        self.experience.close()


def _to_cpu(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _to_cpu(item) for key, item in value.items()}
    return value.detach().cpu() if isinstance(value, Tensor) else value
