"""Prompts and samples as batches. Shapes: B samples, T tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from swift.core.data.collate import collate_padded
from swift.core.types import IGNORE_INDEX, Batch, Encoded
from swift.rlhf.rollout.episodes import Sample

PROMPT_IDS = "prompt_ids"
COLUMNS = "columns"
MESSAGES = "messages"  # column in which the template keeps a prompt's turns


def collate_prompts(examples: Sequence[Encoded]) -> Batch:
    """Prompts of one micro-batch, as lists."""
    return {
        PROMPT_IDS: [[int(token) for token in example.input_ids] for example in examples],
        COLUMNS: [dict(example.columns) for example in examples],
    }


def collate_samples(samples: Sequence[Sample], pad_id: int) -> Batch:
    """input_ids, attention_mask and labels [B, T] of prompts with what follows; drawn tokens are learned."""
    examples = []
    for sample in samples:
        ids = np.asarray([*sample.prompt_ids, *sample.completion.token_ids], dtype=np.int32)
        drawn = np.asarray([False] * len(sample.prompt_ids) + sample.completion.drawn, dtype=bool)
        examples.append(Encoded(ids, np.where(drawn, ids, np.int32(IGNORE_INDEX))))
    return collate_padded(examples, pad_id)


def repeat(values: Sequence[Any], times: int) -> list[Any]:
    """Each value `times` times in a row."""
    return [value for value in values for _ in range(times)]


def aligned_columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Columns as lists, None where a row has no such column; the turns of the prompts are left out."""
    names = sorted({name for row in rows for name in row} - {MESSAGES})
    return {name: [row.get(name) for row in rows] for name in names}
