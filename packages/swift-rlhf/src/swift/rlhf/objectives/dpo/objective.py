"""Direct preference optimisation (arXiv 2305.18290). Shapes: P pairs, 2P rows, T tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from swift.core.data.collate import collate_padded
from swift.core.errors import ConfigError, DataError
from swift.core.protocols import Objective
from swift.core.types import Batch, Encoded, LossOutput, Metric, Task
from swift.rlhf.logprobs import batch_logprobs
from swift.rlhf.loss.preference import LOSSES, Pairs
from swift.rlhf.objectives.dpo.config import DPOConfig
from swift.rlhf.reference import Reference

if TYPE_CHECKING:
    from swift.core.train.context import ObjectiveContext

REFERENCE = "reference_logps"  # float32 [2P], sums over each answer


class DPOObjective(Objective):
    """loss = mean over pairs of f(beta, log p/p_ref(chosen), log p/p_ref(rejected)).

    Raises:
        ConfigError: packed or padding-free batches are asked for.
    """

    task: ClassVar[Task] = "preference"

    def __init__(self, config: DPOConfig, context: ObjectiveContext) -> None:
        if context.flat:
            raise ConfigError("dpo trains on padded rows", "unset data.packing and data.padding_free")
        self.config = config
        self.pair_loss = LOSSES[config.loss_type]
        self.pad_id = context.tokenizer.pad_token_id or 0
        self.reference = Reference(context.load_reference, context.model_config)

    def collate(self, examples: Sequence[Encoded]) -> Batch:
        """2P rows: all chosen answers, then all rejected ones.

        Raises:
            DataError: a row has no rejected answer.
        """
        rejected = [example.rejected for example in examples if example.rejected is not None]
        if len(rejected) < len(examples):
            origin = next(example.origin for example in examples if example.rejected is None)
            raise DataError(f"{origin}: no rejected answer", "dpo needs a chosen and a rejected one")
        return collate_padded([*examples, *rejected], self.pad_id)

    def prepare(self, model: nn.Module, batches: list[Batch], step: int) -> list[Batch]:
        """Add the reference's log-probabilities of every answer."""
        return [{**batch, REFERENCE: self.reference.logprobs(model, batch).sum(-1)} for batch in batches]

    def count(self, batch: Batch) -> Tensor:
        """Pairs [scalar]."""
        return torch.tensor(batch["labels"].shape[0] // 2)

    def loss(self, model: nn.Module, batch: Batch, normalizer: Tensor) -> LossOutput:
        """Losses of the pairs, summed, divided by normalizer."""
        tokens = batch_logprobs(model, batch, own=(REFERENCE,))
        logps_2P = tokens.values.sum(-1)
        chosen, rejected = (logps_2P - batch[REFERENCE]).chunk(2)
        pairs = Pairs(chosen, rejected, *tokens.mask.sum(-1).chunk(2))
        losses_P = self.pair_loss(pairs, self.config.beta, self.config.label_smoothing)
        return LossOutput(losses_P.sum() / normalizer, self._metrics(logps_2P.detach(), chosen, rejected))

    def _metrics(self, logps_2P: Tensor, chosen: Tensor, rejected: Tensor) -> dict[str, Metric]:
        chosen, rejected = self.config.beta * chosen.detach(), self.config.beta * rejected.detach()
        chosen_logps, rejected_logps = logps_2P.chunk(2)
        values = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/accuracy": (chosen > rejected).float(),
            "rewards/margin": chosen - rejected,
            "logps/chosen": chosen_logps,
            "logps/rejected": rejected_logps,
        }
        return {name: Metric(value.sum(), value.numel()) for name, value in values.items()}
