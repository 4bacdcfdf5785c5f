"""Next-token prediction: the objective of both pre-training and supervised fine-tuning.

Shapes: B rows, T tokens, K kept positions, N supervised tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from torch.nn import functional

from swift.core.data.collate import collate_flat, collate_padded
from swift.core.objectives.components import CausalLMConfig
from swift.core.objectives.logits import keyword_inputs, logits_at
from swift.core.protocols import Objective
from swift.core.registry import losses
from swift.core.types import IGNORE_INDEX, Batch, Encoded, LossOutput, Task

if TYPE_CHECKING:
    from torch import nn

    from swift.core.train.context import ObjectiveContext

TokenLoss = Callable[[Tensor, Tensor], Tensor]


class CausalLMObjective(Objective):
    """loss = sum_i w_i * -log p(x_i | x_<i) / sum over the step's learned tokens of 1.

    Dividing by the count of the whole optimiser step, over micro-batches and ranks, makes the gradient
    independent of how the step is cut up.

    Raises:
        RegistryError: loss_type names no registered loss.
    """

    task: ClassVar[Task] = "causal_lm"

    def __init__(self, config: CausalLMConfig, context: ObjectiveContext) -> None:
        self.pad_id = context.tokenizer.pad_token_id or 0
        self.flat = context.flat
        self.media = context.media
        self.custom_loss: TokenLoss | None = None
        if config.loss_type != "cross_entropy":
            self.custom_loss = losses.build(config.loss_type, **config.loss_config)

    def collate(self, examples: Sequence[Encoded]) -> Batch:
        """Rows padded to the longest, or all of them as one row with boundaries."""
        batch = collate_flat(examples) if self.flat else collate_padded(examples, self.pad_id)
        return batch if self.media is None else self.media.complete(batch)

    def count(self, batch: Batch) -> Tensor:
        """Learned tokens [scalar]; a row's first token is never predicted."""
        learned: Tensor = batch["labels"][:, 1:] != IGNORE_INDEX
        return learned.sum()

    def loss(self, model: nn.Module, batch: Batch, normalizer: Tensor) -> LossOutput:
        """Token losses of this batch, summed, divided by normalizer."""
        targets_BT = batch["labels"][:, 1:]
        learned_BT = targets_BT != IGNORE_INDEX
        logits_NV = logits_at(model, keyword_inputs(batch), learned_BT)
        targets_N = targets_BT[learned_BT]
        if self.custom_loss is not None:
            mean = self.custom_loss(logits_NV, targets_N)
            return LossOutput(mean * targets_N.numel() / normalizer)
        losses_N = functional.cross_entropy(logits_NV.float(), targets_N, reduction="none")
        weights: Any = batch.get("loss_weights")
        if weights is not None:
            losses_N = losses_N * weights[:, 1:][learned_BT]
        return LossOutput(losses_N.sum() / normalizer)
