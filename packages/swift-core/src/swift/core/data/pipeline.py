"""From a configuration to data sets that a trainer reads."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from swift.core.config.schema import DataConfig
from swift.core.data.dataset import EncodedDataset
from swift.core.data.names import Hub
from swift.core.data.packing import PackedDataset
from swift.core.data.sources import SourceReport, conversations, find_sources, joined
from swift.core.data.stream import EncodedStream
from swift.core.errors import DataError
from swift.core.protocols import Template
from swift.core.types import Conversation, Encoded, Task

CHUNK = 2000
"""Rows encoded together: enough to share the fixed costs, few enough to bound the memory."""


@dataclass(slots=True)
class Datasets:
    """What build_datasets() made.

    Attributes:
        train: EncodedDataset, PackedDataset or EncodedStream; None where only held-out data is named.
        evaluation: the held-out samples, or None.
        eval_conversations: the held-out rows as they were read, for evaluation by generation.
        summary: counts and fingerprints for run.json; of a stream, what is known before it runs.
    """

    train: EncodedDataset | PackedDataset | EncodedStream | None
    evaluation: EncodedDataset | PackedDataset | None
    eval_conversations: list[Conversation] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def build_datasets(
    data: DataConfig,
    template: Template,
    task: Task,
    *,
    seed: int,
    folder: Path | None = None,
    hub: Hub = "huggingface",
) -> Datasets:
    """Read, normalise, mix, split, encode and pack the data of a run.

    Args:
        task: what the template was built for; errors mention it.
        seed: of shuffling, splitting and mixing.
        folder: where the YAML file lies; relative paths are also looked up here.

    Raises:
        DataError: nothing can be read or nothing is left; the message says why.
        ConfigError: settings that contradict each other.
    """
    with _collector_paused():
        return _build(data, template, task, seed, folder, hub)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Rows are made by the million and hold no cycles: looking for some would take a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _build(
    data: DataConfig, template: Template, task: Task, seed: int, folder: Path | None, hub: Hub
) -> Datasets:
    held_out = _read(data.val_dataset_name, data, folder, hub, None, seed) if data.val_dataset_name else None
    if data.streaming:
        return _streamed(data, template, held_out, task, seed=seed, folder=folder, hub=hub)
    measured_only = held_out is not None and not data.dataset_name
    rows, reports = (
        ([], []) if measured_only else _read(data.dataset_name, data, folder, hub, data.weights, seed)
    )
    if data.shuffle:
        order = np.random.default_rng(seed).permutation(len(rows))
        rows = [rows[index] for index in order]
    val_rows, val_reports = held_out if held_out is not None else ([], [])
    if held_out is None and data.split_ratio > 0:
        rows, val_rows = split(rows, data.split_ratio)
    summary: dict[str, Any] = {"sources": [report.to_dict() for report in reports]}
    train = _encoded(rows, data, template, task, "train", summary, seed) if not measured_only else None
    evaluation: EncodedDataset | PackedDataset | None = None
    if val_rows:
        summary["evaluation_sources"] = [report.to_dict() for report in val_reports]
        evaluation = _encoded(val_rows, data, template, task, "evaluation", summary, None)
    return Datasets(train, evaluation, val_rows, summary)


def split(rows: list[Conversation], ratio: float) -> tuple[list[Conversation], list[Conversation]]:
    """Training rows, and the last share of the rows held out; at least one on each side.

    Raises:
        DataError: fewer than two rows.
    """
    if len(rows) < 2:
        raise DataError(f"{len(rows)} row cannot be split", "set data.split_ratio=0 or add rows")
    count = min(max(1, round(len(rows) * ratio)), len(rows) - 1)
    return rows[:-count], rows[-count:]


Read = tuple[list[Conversation], list[SourceReport]]


def _read(
    names: Sequence[str],
    data: DataConfig,
    folder: Path | None,
    hub: Hub,
    weights: Sequence[float] | None,
    seed: int,
) -> Read:
    sources = find_sources(names, folder, hub)
    reports = [SourceReport(source.name) for source in sources]
    parts = [
        list(conversations(source, data, report)) for source, report in zip(sources, reports, strict=True)
    ]
    for report, part in zip(reports, parts, strict=True):
        if not part:
            raise DataError(
                f"data set {report.name!r} has no usable rows (read {report.counts.read}, "
                f"skipped {report.counts.skipped})",
                "check the file; data.on_error=raise shows why rows were skipped",
            )
    return joined(parts, weights, seed), reports


def _encoded(
    rows: list[Conversation],
    data: DataConfig,
    template: Template,
    task: Task,
    name: str,
    summary: dict[str, Any],
    seed: int | None,
) -> EncodedDataset | PackedDataset:
    before = _statistics(template)
    skipped: list[DataError] = []
    samples = list(encode_rows(rows, template, data.on_error == "skip", skipped))
    after = _statistics(template)
    counts = {key: after[key] - before.get(key, 0) for key in ("dropped", "truncated") if key in after}
    if not samples:
        raise _nothing_left(rows, data, task, after, skipped)
    dataset = EncodedDataset(samples)
    summary[name] = {
        "rows": len(rows),
        "samples": len(samples),
        "unencodable": len(skipped),
        **counts,
        "tokens": int(dataset.lengths.sum()),
        "supervised_tokens": dataset.supervised_tokens,
        "longest": int(dataset.lengths.max()),
    }
    if not data.packing or task not in ("causal_lm", "text"):
        return dataset
    packed = PackedDataset(dataset, data.max_length, seed)
    summary[name] |= {"packs": len(packed), "fill": packed.fill}
    return packed


def encode_rows(
    rows: Sequence[Conversation], template: Template, skip: bool, skipped: list[DataError]
) -> Iterator[Encoded]:
    """Samples of all rows, chunk by chunk; skip puts the errors of bad rows aside and goes on."""
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        try:
            yield from template.encode(chunk)
        except DataError:
            if not skip:
                raise
            yield from _encode_one_by_one(chunk, template, skipped)


def _encode_one_by_one(
    rows: Sequence[Conversation], template: Template, skipped: list[DataError]
) -> Iterator[Encoded]:
    for row in rows:
        try:
            yield from template.encode([row])
        except DataError as error:
            skipped.append(error)


def _statistics(template: Template) -> dict[str, int]:
    """What the template counted so far; a user's own template need not count."""
    statistics = getattr(template, "statistics", None)
    names = ("dropped", "truncated", "longest", "shortest_dropped")
    return {name: getattr(statistics, name) for name in names} if statistics is not None else {}


def _nothing_left(
    rows: Sequence[Conversation],
    data: DataConfig,
    task: Task,
    counts: dict[str, int],
    skipped: list[DataError],
) -> DataError:
    if skipped:
        return DataError(
            f"none of {len(rows)} rows can be encoded as {task}; the first error: {skipped[0].problem}",
            skipped[0].remedy,
        )
    return DataError(
        f"all {len(rows)} rows are longer than data.max_length={data.max_length}, or nothing in them is "
        f"learned: {counts.get('shortest_dropped', 0)} to {counts.get('longest', 0)} tokens",
        f"raise data.max_length, or change data.truncation={data.truncation}: "
        "right keeps the start, left the end, split everything",
    )


def _streamed(
    data: DataConfig,
    template: Template,
    held_out: Read | None,
    task: Task,
    *,
    seed: int,
    folder: Path | None,
    hub: Hub,
) -> Datasets:
    if data.split_ratio > 0 and held_out is None:
        raise DataError(
            "data.split_ratio cannot hold out rows of a stream", "name held-out data in data.val_dataset_name"
        )
    sources = find_sources(data.dataset_name, folder, hub)
    stream = EncodedStream(
        sources, data, template, seed=seed, packs=data.packing and task in ("causal_lm", "text")
    )
    summary: dict[str, Any] = {"sources": [{"name": source.name} for source in sources], "streaming": True}
    rows, reports = held_out if held_out is not None else ([], [])
    evaluation: EncodedDataset | PackedDataset | None = None
    if rows:
        summary["evaluation_sources"] = [report.to_dict() for report in reports]
        evaluation = _encoded(rows, data, template, task, "evaluation", summary, None)
    return Datasets(stream, evaluation, rows, summary)
