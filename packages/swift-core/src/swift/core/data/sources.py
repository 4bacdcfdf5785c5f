"""The data sets of a run: found, read, normalised, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from swift.core.config.schema import DataConfig
from swift.core.data.formats import to_conversation
from swift.core.data.names import Hub
from swift.core.data.read import ReadCounts, find_source, read_rows
from swift.core.data.source import Source
from swift.core.errors import ConfigError, DataError
from swift.core.types import Conversation


@dataclass(slots=True)
class SourceReport:
    """What was read of one data set."""

    name: str
    counts: ReadCounts = field(default_factory=ReadCounts)
    used: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For run.json; the fingerprint is the SHA-256 of the files' bytes, or else of the rows."""
        return {
            "name": self.name,
            "rows_read": self.counts.read,
            "rows_skipped": self.counts.skipped,
            "rows_used": self.used,
            "fingerprint": self.counts.digest.hexdigest(),
        }


def find_sources(names: Sequence[str], folder: Path | None, hub: Hub = "huggingface") -> list[Source]:
    """All of them, before any is read.

    Raises:
        ConfigError: no names.
        DataError: a name that means nothing.
    """
    if not names:
        raise ConfigError(
            "data.dataset_name is empty", "name a file, a folder, a registered data set or a hub id"
        )
    return [find_source(name, folder, hub) for name in names]


def conversations(source: Source, data: DataConfig, report: SourceReport) -> Iterator[Conversation]:
    """Normalised rows of one source, at most data.max_samples of them.

    Raises:
        DataError: a row cannot be parsed or recognised (with data.on_error="raise").
    """
    for row, origin in read_rows(source, on_error=data.on_error, split=data.split, counts=report.counts):
        if data.max_samples is not None and report.used >= data.max_samples:
            return
        try:
            conversation = to_conversation(row, origin, data.columns, folder=source.folder)
        except DataError:
            if data.on_error == "raise":
                raise
            report.counts.skipped += 1
            continue
        report.used += 1
        yield conversation


def mixture(sizes: Sequence[int], weights: Sequence[float], seed: int) -> Iterator[int]:
    """Which source the next row comes from, drawn by weight, until a source with a weight is used up."""
    left = np.array(sizes)
    probabilities = checked_weights(weights, len(sizes))
    for choice in draw(probabilities, seed):
        if left[choice] == 0:
            return
        left[choice] -= 1
        yield choice


def draw(probabilities: Sequence[float], seed: int) -> Iterator[int]:
    """Endless independent draws of a source's number."""
    generator = np.random.default_rng(seed)
    while True:
        yield from generator.choice(len(probabilities), size=1024, p=probabilities).tolist()


def checked_weights(weights: Sequence[float], count: int) -> list[float]:
    """Weights as probabilities.

    Raises:
        ConfigError: not one weight a data set, a negative one, or all zero.
    """
    if len(weights) != count or min(weights) < 0 or sum(weights) <= 0:
        raise ConfigError(
            f"data.weights is {list(weights)} for {count} data sets",
            "give one weight >= 0 for each entry of data.dataset_name, not all zero",
        )
    return [weight / sum(weights) for weight in weights]


def joined(
    parts: Sequence[Sequence[Conversation]], weights: Sequence[float] | None, seed: int
) -> list[Conversation]:
    """Rows of all sources: one after the other, or mixed by weights."""
    if weights is None:
        return [row for part in parts for row in part]
    readers: list[Iterable[Conversation]] = [iter(part) for part in parts]
    return [next(iter(readers[choice])) for choice in mixture([len(part) for part in parts], weights, seed)]
