"""Rows of token ids: those that the model reads while it is quantised, and held-out ones to measure it by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from swift.core.config.run import RunConfig
from swift.core.data.encode import encode_dataset
from swift.core.data.rows import RunRows, split
from swift.core.errors import ConfigError
from swift.core.template.build import build_template
from swift.core.types import Conversation, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OWN_LENGTH = 512
"""Tokens of a row of Python's manual, by which models are measured where no data is named."""
HELD_OUT = 0.2
"""Share of the rows kept for measuring where no held-out data is named."""


@dataclass(frozen=True)
class Tokens:
    """Attributes:
    calibration, held_out: token ids [T] each.
    described: where they come from, for people.
    fingerprint: SHA-256 of the ids.
    """

    calibration: list[Tensor]
    held_out: list[Tensor]
    described: str
    fingerprint: str


def gather_tokens(run: RunConfig, tokenizer: PreTrainedTokenizerBase, needs_calibration: bool) -> Tokens:
    """Encode what data names, by the model's chat template.

    Args:
        needs_calibration: the method reads export.calibration_samples rows.

    Raises:
        ConfigError: calibration data is needed and none is named.
        DataError: rows that cannot be read or encoded.
    """
    wanted = int(getattr(run.quantizer, "calibration_samples", 0)) if needs_calibration else 0
    if wanted and not run.data.dataset_name:
        raise ConfigError(
            f"export.method={run.export.method} looks at data, and data.dataset_name names none",
            "set data.dataset_name to rows like those that the model will answer",
        )
    if not run.data.dataset_name and not run.data.val_dataset_name:
        rows = manual(tokenizer, run.export.perplexity_samples)
        return Tokens([], rows, "topics of Python's manual", fingerprint(rows))
    train, held_out = _rows(run)
    length = int(getattr(run.quantizer, "calibration_length", run.data.max_length))
    calibration = _encoded(train[: max(wanted, 0)], run, tokenizer, length) if wanted else []
    measured = _encoded(held_out[: run.export.perplexity_samples], run, tokenizer, run.data.max_length)
    sources = run.data.dataset_name or run.data.val_dataset_name
    named = ", ".join(str(getattr(item, "name", item)) for item in sources)
    return Tokens(calibration, measured, named, fingerprint([*calibration, *measured]))


def _rows(run: RunConfig) -> tuple[list[Conversation], list[Conversation]]:
    read = RunRows(run.data, run.loop.seed, run.folder, run.model.hub).rows
    if read.held_out or run.export.perplexity_samples == 0:
        return read.train, read.held_out
    return split(read.train, HELD_OUT)


def _encoded(
    rows: list[Conversation], run: RunConfig, tokenizer: PreTrainedTokenizerBase, length: int
) -> list[Tensor]:
    if not rows:
        return []
    task: Task = "text" if rows[0].text is not None else "causal_lm"
    data = run.data.model_copy(update={"max_length": length, "truncation": "right"})
    samples, _ = encode_dataset(rows, data, build_template(data, tokenizer, task, None), task)
    return [torch.from_numpy(samples[index].input_ids).long() for index in range(len(samples))]


def manual(tokenizer: PreTrainedTokenizerBase, count: int) -> list[Tensor]:
    """The topics of Python's own manual, which every machine has, as rows of OWN_LENGTH tokens."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[topic] for topic in sorted(topics))
    ids: Any = tokenizer(text[: count * OWN_LENGTH * 8], add_special_tokens=False)["input_ids"]
    rows = torch.split(torch.tensor(ids), OWN_LENGTH)
    return list(rows[:count])


def fingerprint(rows: Sequence[Tensor]) -> str:
    """SHA-256 of token ids."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row.numpy().astype("<i8").tobytes() + b"|")
    return digest.hexdigest()
