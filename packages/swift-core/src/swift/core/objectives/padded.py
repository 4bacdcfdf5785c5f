"""Batches of whole texts: padded rows without token labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from swift.core.data.collate import collate_padded
from swift.core.errors import ConfigError
from swift.core.types import Batch, Encoded

if TYPE_CHECKING:
    from swift.core.train.context import ObjectiveContext

MODEL_INPUTS = ("input_ids", "attention_mask")


def refuse_flat(objective: str, context: ObjectiveContext) -> None:
    """One row a text: the heads of transformers read a row's last token.

    Raises:
        ConfigError: packed or padding-free batches are asked for.
    """
    if context.flat:
        raise ConfigError(
            f"{objective} reads one result a row, and packed or padding-free batches have one row",
            "unset data.packing and data.padding_free",
        )


def collate_texts(texts: Sequence[Encoded], pad_id: int) -> Batch:
    """input_ids and attention_mask, int64 [B, T], padded on the right; media tensors."""
    batch = collate_padded(texts, pad_id)
    return {key: value for key, value in batch.items() if key not in ("labels", "loss_weights")}


def model_inputs(batch: Batch) -> dict[str, Any]:
    """The part of such a batch that the model's forward reads."""
    return {key: batch[key] for key in MODEL_INPUTS}
