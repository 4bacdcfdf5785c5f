"""The rows of a run: found at once, read when they are first asked for."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swift.core.config.schema import DataConfig
from swift.core.data.names import Hub
from swift.core.data.read import file_digest
from swift.core.data.source import Source
from swift.core.data.sources import SourceReport, find_sources, read_sources
from swift.core.errors import DataError
from swift.core.types import Conversation


@dataclass(frozen=True, slots=True)
class ReadRows:
    """Rows in memory.

    Attributes:
        train, held_out: mixed, shuffled and split.
        reports, held_out_reports: what was read of each data set.
    """

    train: list[Conversation]
    held_out: list[Conversation]
    reports: list[SourceReport]
    held_out_reports: list[SourceReport]

    def summary(self) -> dict[str, Any]:
        """For run.json."""
        summary: dict[str, Any] = {"sources": [report.to_dict() for report in self.reports]}
        if self.held_out:
            summary["evaluation_sources"] = [report.to_dict() for report in self.held_out_reports]
        return summary


class RunRows:
    """The rows that a configuration names.

    Args:
        data: the section.
        seed: of counts, mixing and shuffling.
        folder: where the YAML file lies.
        hub: where ids are fetched from.

    Raises:
        ConfigError: nothing is named.
        DataError: a name that means nothing.
    """

    def __init__(self, data: DataConfig, seed: int, folder: Path | None, hub: Hub) -> None:
        self.data = data
        self.seed = seed
        self.held_out = find_sources(data.val_dataset_name, folder, hub) if data.val_dataset_name else []
        measured_only = bool(self.held_out) and not data.dataset_name and not data.streaming
        self.train = find_sources(data.dataset_name, folder, hub) if not measured_only else []

    @functools.cached_property
    def held_out_rows(self) -> tuple[list[Conversation], list[SourceReport]]:
        """Rows of data.val_dataset_name."""
        return read_sources(self.held_out, self.data, self.seed)

    @functools.cached_property
    def rows(self) -> ReadRows:
        """All rows.

        Raises:
            DataError: a row cannot be used, a data set has none, or there are too few to split.
        """
        data = self.data
        held_out, held_out_reports = self.held_out_rows
        train, reports = read_sources(
            self.train, data, self.seed, weights=data.weights, strategy=data.stopping_strategy
        )
        if data.shuffle:
            order = np.random.default_rng(self.seed).permutation(len(train))
            train = [train[index] for index in order]
        if not self.held_out and data.split_ratio > 0:
            train, held_out = split(train, data.split_ratio)
        return ReadRows(train, held_out, reports, held_out_reports)

    def digests(self) -> list[str]:
        """SHA-256 of what each data set holds, without reading a row where it is but files."""
        if not self.data.filters and all(source.kind == "files" for source in (*self.train, *self.held_out)):
            return [_files_digest(source) for source in (*self.train, *self.held_out)]
        reports = (*self.rows.reports, *self.rows.held_out_reports)
        return [_rows_digest(report) for report in reports]


def _files_digest(source: Source) -> str:
    return hashlib.sha256(b"".join(file_digest(file) for file in source.files)).hexdigest()


def _rows_digest(report: SourceReport) -> str:
    kept = report.counts.kept
    return str(report.counts.digest.hexdigest() + (kept.hexdigest() if kept is not None else ""))


def split(rows: Sequence[Conversation], ratio: float) -> tuple[list[Conversation], list[Conversation]]:
    """Training rows, and the last share of the rows held out; at least one on each side.

    A row that was drawn several times is on one side only, and held out once.

    Raises:
        DataError: fewer than two rows.
    """
    distinct = list({id(row): row for row in rows}.values())
    if len(distinct) < 2:
        raise DataError(f"{len(distinct)} row cannot be split", "set data.split_ratio=0 or add rows")
    count = min(max(1, round(len(distinct) * ratio)), len(distinct) - 1)
    held_out = distinct[-count:]
    apart = {id(row) for row in held_out}
    return [row for row in rows if id(row) not in apart], held_out
