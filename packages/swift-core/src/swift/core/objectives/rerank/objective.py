"""Reranker training.

Shapes: G queries, P pairs of a query and a document, K documents of the longest list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from swift.core.errors import DataError
from swift.core.objectives.loss_form import EXCLUDED, Form, form_of
from swift.core.objectives.losses import Losses
from swift.core.objectives.padded import collate_texts, model_inputs, refuse_flat
from swift.core.objectives.rerank.config import USUAL_LOSS, RerankerConfig
from swift.core.protocols import Objective
from swift.core.types import Batch, Encoded, Head, LossOutput, Predictions, Task

if TYPE_CHECKING:
    from swift.core.train.context import ObjectiveContext

FORMS: tuple[Form, ...] = ("pairs", "lists")


class RerankerObjective(Objective):
    """A loss of the scores of query and document, pair by pair (pointwise) or query by query (listwise).

    Raises:
        ConfigError: packed or padding-free batches are asked for, or the loss has another form.
        RegistryError: loss_type names no registered loss.
    """

    task: ClassVar[Task] = "reranker"

    @classmethod
    def settle(cls, config: RerankerConfig, samples: Iterable[Encoded] | None) -> RerankerConfig:
        """Every row has what the loss compares."""
        form = form_of(config.losses(USUAL_LOSS), "pairs", FORMS)
        for sample in samples or ():
            check_documents(sample, form)
        return config

    @classmethod
    def head(cls, config: RerankerConfig) -> Head | None:
        """A classification head of one score."""
        return Head("classification", 1)

    def __init__(self, config: RerankerConfig, context: ObjectiveContext) -> None:
        refuse_flat(self.task, context)
        self.pad_id = context.tokenizer.pad_token_id or 0
        self.form = form_of(config.losses(USUAL_LOSS), "pairs", FORMS)
        self.losses = Losses(config.losses(USUAL_LOSS), context.parts, self.form)

    def collate(self, examples: Sequence[Encoded]) -> Batch:
        """P pairs, with targets float32 [P] and groups int64 [P], the number of their query."""
        for example in examples:
            check_documents(example, self.form)
        pairs = [pair for example in examples for pair in (example, *example.others)]
        groups = [number for number, example in enumerate(examples) for _ in (example, *example.others)]
        return collate_texts(pairs, self.pad_id) | {
            "targets": torch.tensor([float(pair.label) for pair in pairs]),
            "groups": torch.tensor(groups, dtype=torch.int64),
        }

    def count(self, batch: Batch) -> Tensor:
        """Pairs, or queries [scalar]."""
        if self.form == "pairs":
            return torch.tensor(len(batch["targets"]))
        last: Tensor = batch["groups"].amax()
        return last + 1

    def loss(self, model: nn.Module, batch: Batch, normalizer: Tensor) -> LossOutput:
        """Losses of the pairs or queries, summed, divided by normalizer."""
        scores_P = self.scores(model, batch)
        inputs, targets = scores_P, batch["targets"]
        if self.form == "lists":
            inputs = as_lists(scores_P, batch["groups"], EXCLUDED)
            targets = as_lists(targets, batch["groups"], 0.0)
        total, metrics = self.losses(
            inputs,
            targets,
            attention_mask=batch["attention_mask"],
            batch=batch,
            num_items_in_batch=normalizer,
        )
        return LossOutput(total / normalizer, metrics)

    def predict(self, model: nn.Module, batch: Batch) -> Predictions:
        """Scores and relevances [P], with the number of their query."""
        with torch.no_grad():
            scores_P = self.scores(model, batch)
        return Predictions("scores", scores_P, batch["targets"], batch["groups"])

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        """float32 [P]."""
        logits: Tensor = model(**model_inputs(batch)).logits
        return logits.float().squeeze(-1)


def as_lists(values_P: Tensor, groups_P: Tensor, fill: float) -> Tensor:
    """Values of each query in a row of its own [G, K].

    Args:
        groups_P: sorted numbers 0 to G - 1, none left out.
    """
    sizes_G = torch.bincount(groups_P)
    starts_G = sizes_G.cumsum(0) - sizes_G
    column_P = torch.arange(len(groups_P), device=groups_P.device) - starts_G[groups_P]
    table_GK = values_P.new_full((len(sizes_G), int(sizes_G.max())), fill)
    return table_GK.index_put((groups_P, column_P), values_P)


def check_documents(sample: Encoded, form: Form) -> None:
    """Refuse a list without a relevant document, or with nothing to rank it above.

    Raises:
        DataError: the row cannot be ranked.
    """
    labels = [pair.label for pair in (sample, *sample.others)]
    if form == "lists" and (len(labels) < 2 or not any(label > 0 for label in labels)):
        raise DataError(
            f"{sample.origin}: {len(labels)} documents with the labels {labels}",
            "a listwise loss needs one relevant document and another one in each row; "
            "or set train.loss_type=pointwise",
        )
