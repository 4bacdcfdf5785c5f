"""Tokens to vectors or scores. Shapes: B texts, D width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swift.core.objectives.embed.pool import pool
from swift.core.objectives.generative_rerank.objective import last_logits, token_of
from swift.core.objectives.padded import collate_texts, model_inputs
from swift.core.types import Batch, Encoded
from swift.infer.encode.record import EncodeSettings

Forward = Callable[[Batch], Tensor]


def forward_of(model: nn.Module, tokenizer: Any, settings: EncodeSettings) -> Forward:
    """What a batch becomes: unit vectors float32 [B, D], or scores float32 [B], as in training.

    A score is a logit: of the head, or logit(yes) - logit(no).
    """
    if settings.task == "embedding":

        def vectors(batch: Batch) -> Tensor:
            hidden: Tensor = model(**model_inputs(batch)).last_hidden_state
            return pool(hidden, batch["attention_mask"], settings.pooling)

        return vectors
    if settings.task == "reranker":

        def logits(batch: Batch) -> Tensor:
            found: Tensor = model(**model_inputs(batch)).logits
            return found.float().squeeze(-1)

        return logits
    yes, no = token_of(tokenizer, "yes_token", settings.yes), token_of(tokenizer, "no_token", settings.no)

    def answers(batch: Batch) -> Tensor:
        last = batch["attention_mask"].sum(1) - 1
        found = last_logits(model, model_inputs(batch), last).float()
        return found[:, yes] - found[:, no]

    return answers


def batch_of(texts: Sequence[tuple[int, ...]], pad_id: int, device: torch.device) -> Batch:
    """input_ids and attention_mask, int64 [B, T], padded on the right."""
    rows = [np.array(ids, dtype=np.int32) for ids in texts]
    batch = collate_texts([Encoded(row, row) for row in rows], pad_id)
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
