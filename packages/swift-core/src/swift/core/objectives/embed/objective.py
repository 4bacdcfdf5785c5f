"""Embedding training.

Shapes: G anchors, P other texts, D width, N anchors with a positive each, M candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from swift.core.errors import DataError
from swift.core.objectives.embed.candidates import Texts, cosines_with_candidates, text_keys
from swift.core.objectives.embed.config import USUAL_LOSS, EmbeddingConfig
from swift.core.objectives.embed.pool import pool
from swift.core.objectives.loss_form import Form, form_of
from swift.core.objectives.losses import Losses
from swift.core.objectives.padded import collate_texts, model_inputs, refuse_flat
from swift.core.protocols import Objective
from swift.core.types import Batch, Encoded, Head, LossOutput, Predictions, Task

if TYPE_CHECKING:
    from swift.core.train.context import ObjectiveContext

FORMS: tuple[Form, ...] = ("candidates", "pairs")


class EmbeddingObjective(Objective):
    """A loss of cosines between the vectors of an anchor and of other texts.

    Losses of the form "candidates" (infonce) compare each anchor with every text of the micro-batch, so their
    value depends on the batch size; while training, texts of all ranks are candidates. Losses of the form
    "pairs" (cosine, cosent, contrastive, online_contrastive) compare an anchor with its own texts alone.

    Raises:
        ConfigError: packed or padding-free batches are asked for, or the loss has another form.
        RegistryError: loss_type names no registered loss.
    """

    task: ClassVar[Task] = "embedding"

    @classmethod
    def settle(cls, config: EmbeddingConfig, samples: Iterable[Encoded] | None) -> EmbeddingConfig:
        """Every row has what the loss compares."""
        form = form_of(config.losses(USUAL_LOSS), "candidates", FORMS)
        for sample in samples or ():
            check_texts(sample, form)
        return config

    @classmethod
    def head(cls, config: EmbeddingConfig) -> Head:
        """Hidden states, without an output layer."""
        return Head("embedding")

    def __init__(self, config: EmbeddingConfig, context: ObjectiveContext) -> None:
        refuse_flat("embedding", context)
        self.config = config
        self.pad_id = context.tokenizer.pad_token_id or 0
        self.form = form_of(config.losses(USUAL_LOSS), "candidates", FORMS)
        self.losses = Losses(config.losses(USUAL_LOSS), context.parts, self.form)

    def collate(self, examples: Sequence[Encoded]) -> Batch:
        """G anchors, then P texts; owners int64 [P], targets float32 [P], keys int64 [G + P]."""
        for example in examples:
            check_texts(example, self.form)
        others = [other for example in examples for other in example.others]
        owners = [number for number, example in enumerate(examples) for _ in example.others]
        return collate_texts([*examples, *others], self.pad_id) | {
            "owners": torch.tensor(owners, dtype=torch.int64),
            "targets": torch.tensor([float(other.label) for other in others]),
            "keys": text_keys([*examples, *others]),
        }

    def count(self, batch: Batch) -> Tensor:
        """Pairs, or anchors with a positive each [scalar]."""
        if self.form == "pairs":
            return torch.tensor(len(batch["targets"]))
        positives: Tensor = batch["targets"] == 1
        return positives.sum()

    def loss(self, model: nn.Module, batch: Batch, normalizer: Tensor) -> LossOutput:
        """Losses of the pairs or anchors, summed, divided by normalizer."""
        anchors_GD, texts_PD = self._vectors(model, batch)
        anchors_PD = anchors_GD[batch["owners"]]
        if self.form == "pairs":
            inputs, targets = (anchors_PD * texts_PD).sum(-1), batch["targets"]
        else:
            inputs, targets = cosines_with_candidates(
                anchors_PD,
                _texts(batch, texts_PD),
                in_batch=self.config.in_batch_negatives,
                # evaluation shares out samples, so that ranks may measure different numbers of batches
                across_ranks=self.config.gather_negatives and model.training,
            )
        total, metrics = self.losses(
            inputs,
            targets,
            attention_mask=batch["attention_mask"],
            batch=batch,
            num_items_in_batch=normalizer,
        )
        return LossOutput(total / normalizer, metrics)

    def predict(self, model: nn.Module, batch: Batch) -> Predictions:
        """Cosines of anchors with their own texts; of "candidates", with all texts of the batch."""
        with torch.no_grad():
            anchors_GD, texts_PD = self._vectors(model, batch)
        if self.form == "pairs":
            cosines = (anchors_GD[batch["owners"]] * texts_PD).sum(-1)
            return Predictions("scores", cosines, batch["targets"], batch["owners"])
        cosines_GP = anchors_GD @ texts_PD.T
        related_GP = _related(batch, len(anchors_GD))
        groups = torch.arange(len(anchors_GD), device=cosines_GP.device)[:, None].expand_as(cosines_GP)
        return Predictions("scores", cosines_GP.flatten(), related_GP.float().flatten(), groups.flatten())

    def _vectors(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Anchors [G, D] and texts [P, D]."""
        hidden_BTD = model(**model_inputs(batch)).last_hidden_state
        vectors = pool(hidden_BTD, batch["attention_mask"], self.config.pooling)
        anchors = len(vectors) - len(batch["owners"])
        return vectors[:anchors], vectors[anchors:]


def check_texts(sample: Encoded, form: Form) -> None:
    """Refuse a row without what the loss compares.

    Raises:
        DataError: no positive, or a pair that is neither related nor unrelated.
    """
    labels = [other.label for other in sample.others]
    if form == "candidates" and 1 not in labels:
        raise DataError(
            f"{sample.origin}: no positive text (labels {labels})",
            "infonce needs one: add positive or positive_messages, give the pair label 1, "
            "or choose loss_type cosine, cosent or contrastive for scored pairs",
        )


def _texts(batch: Batch, vectors_PD: Tensor) -> Texts:
    anchors = len(batch["keys"]) - len(vectors_PD)
    keys = batch["keys"]
    return Texts(vectors_PD, keys[anchors:], keys[:anchors][batch["owners"]], batch["targets"] == 1)


def _related(batch: Batch, anchors: int) -> Tensor:
    """bool [G, P]: whether a text is one of the anchor's positives, or equals one."""
    keys_P, owners_P = batch["keys"][anchors:], batch["owners"]
    own_GP = owners_P[None, :] == torch.arange(anchors, device=owners_P.device)[:, None]
    positive_GP = own_GP & (batch["targets"] == 1)[None, :]
    same_PP = keys_P[:, None] == keys_P[None, :]
    related_GP: Tensor = (positive_GP.float() @ same_PP.float()) > 0
    return related_GP
