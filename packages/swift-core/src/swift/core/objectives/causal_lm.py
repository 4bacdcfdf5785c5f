"""Next-token prediction: the objective of both pre-training and supervised fine-tuning.

Shapes: B rows, T tokens, K kept positions, N supervised tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from swift.core.config.named import losses_of
from swift.core.data.collate import collate_flat, collate_padded
from swift.core.objectives.components import CausalLMConfig
from swift.core.objectives.logits import forward_at, keyword_inputs, logits_at, losses_at
from swift.core.objectives.losses import Losses
from swift.core.protocols import Objective
from swift.core.types import IGNORE_INDEX, Batch, Encoded, LossOutput, Predictions, Task

if TYPE_CHECKING:
    from torch import nn

    from swift.core.train.context import ObjectiveContext


class CausalLMObjective(Objective):
    """loss = sum_i w_i * -log p(x_i | x_<i) / sum over the step's learned tokens of 1.

    Dividing by the count of the whole optimiser step, over micro-batches and ranks, makes the gradient
    independent of how the step is cut up. Other losses than the cross-entropy: see losses.py.

    Raises:
        RegistryError: loss_type names no registered loss.
        PluginError: a registered loss that cannot be built.
    """

    task: ClassVar[Task] = "causal_lm"

    def __init__(self, config: CausalLMConfig, context: ObjectiveContext) -> None:
        self.pad_id = context.tokenizer.pad_token_id or 0
        self.flat = context.flat
        self.media = context.media
        self.losses = Losses(losses_of(config.loss_type, config.loss_config), context.parts, "tokens")

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
        targets_N = targets_BT[learned_BT]
        weights_BT: Any = batch.get("loss_weights")
        weights_N = weights_BT[:, 1:][learned_BT] if weights_BT is not None else None
        if self.losses.are_cross_entropy:
            tokens = losses_at(model, keyword_inputs(batch), learned_BT, targets_N)
            if tokens is not None:
                return LossOutput(self.losses.of_values(tokens.nll_N, weights_N) / normalizer)
        options = {"output_hidden_states": True} if self.losses.accept("model_outputs") else {}
        rows_NV, outputs = forward_at(model, keyword_inputs(batch), learned_BT, **options)
        total, metrics = self.losses(
            rows_NV,
            targets_N,
            weights_N,
            attention_mask=batch.get("attention_mask"),
            model_outputs=outputs,
            batch=batch,
            num_items_in_batch=normalizer,
        )
        return LossOutput(total / normalizer, metrics)

    def predict(self, model: nn.Module, batch: Batch) -> Predictions:
        """The likeliest token at each learned position, given the true ones before it: ids [N]."""
        targets_BT = batch["labels"][:, 1:]
        learned_BT = targets_BT != IGNORE_INDEX
        with torch.no_grad():
            logits_NV = logits_at(model, keyword_inputs(batch), learned_BT)
        return Predictions("tokens", logits_NV.argmax(-1), targets_BT[learned_BT])
