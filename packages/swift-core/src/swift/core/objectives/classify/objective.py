"""Sequence classification. Shapes: B texts, C classes or numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from swift.core.objectives.classify.config import LAYOUTS, USUAL_LOSS, SeqClsConfig
from swift.core.objectives.classify.labels import check_label, settled, targets_of
from swift.core.objectives.losses import Losses
from swift.core.objectives.padded import collate_texts, model_inputs, refuse_flat
from swift.core.protocols import Objective
from swift.core.types import Batch, Encoded, Head, LossOutput, Predictions, Task

if TYPE_CHECKING:
    from swift.core.train.context import ObjectiveContext


class SeqClsObjective(Objective):
    """loss = sum_i f(logits_i, label_i) / the step's count of texts.

    f is the cross-entropy of one label, the binary cross-entropy of several, the squared error of numbers,
    or any registered loss.

    Args:
        config: settled, see settle().

    Raises:
        ConfigError: packed or padding-free batches are asked for.
        RegistryError: loss_type names no registered loss.
    """

    task: ClassVar[Task] = "seq_cls"

    @classmethod
    def settle(cls, config: SeqClsConfig, samples: Iterable[Encoded] | None) -> SeqClsConfig:
        """problem_type and num_labels as the labels show them."""
        return settled(config, samples)

    @classmethod
    def head(cls, config: SeqClsConfig) -> Head:
        """A classification head of num_labels."""
        return Head("classification", config.num_labels or 1, config.problem_type)

    def __init__(self, config: SeqClsConfig, context: ObjectiveContext) -> None:
        refuse_flat("seq_cls", context)
        assert config.problem_type is not None and config.num_labels is not None, "settle() fills them"
        self.problem = config.problem_type
        self.num_labels = config.num_labels
        self.pad_id = context.tokenizer.pad_token_id or 0
        self.losses = Losses(config.losses(USUAL_LOSS[self.problem]), context.parts, LAYOUTS[self.problem])

    def collate(self, examples: Sequence[Encoded]) -> Batch:
        """Texts with targets: int64 [B] classes, float32 [B, C] labels or numbers, float32 [B] one number."""
        for example in examples:
            check_label(example, self.problem, self.num_labels)
        targets = targets_of([example.label for example in examples], self.problem)
        return collate_texts(examples, self.pad_id) | {"targets": targets}

    def count(self, batch: Batch) -> Tensor:
        """Texts [scalar]."""
        return torch.tensor(len(batch["targets"]))

    def loss(self, model: nn.Module, batch: Batch, normalizer: Tensor) -> LossOutput:
        """Losses of the texts, summed, divided by normalizer."""
        options = {"output_hidden_states": True} if self.losses.accept("model_outputs") else {}
        outputs = self._forward(model, batch, **options)
        total, metrics = self.losses(
            self._logits(outputs),
            batch["targets"],
            attention_mask=batch["attention_mask"],
            model_outputs=outputs,
            batch=batch,
            num_items_in_batch=normalizer,
        )
        return LossOutput(total / normalizer, metrics)

    def predict(self, model: nn.Module, batch: Batch) -> Predictions:
        """Logits [B, C] (values [B] of regression) and targets."""
        with torch.no_grad():
            logits = self._logits(self._forward(model, batch))
        return Predictions("labels", logits, batch["targets"])

    def _forward(self, model: nn.Module, batch: Batch, **options: Any) -> Any:
        return model(**model_inputs(batch), **options)

    def _logits(self, outputs: Any) -> Tensor:
        logits: Tensor = outputs.logits.float()
        return logits.squeeze(1) if self.problem == "regression" and self.num_labels == 1 else logits
