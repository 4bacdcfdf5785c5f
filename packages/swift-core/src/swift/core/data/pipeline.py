"""From a configuration to data sets that a trainer reads."""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from swift.core.config.schema import DataConfig
from swift.core.console import say
from swift.core.data.cache import fetch
from swift.core.data.cache_key import cache_key
from swift.core.data.dataset import EncodedDataset
from swift.core.data.encode import encode_dataset
from swift.core.data.names import Hub
from swift.core.data.packing import PackedDataset
from swift.core.data.rows import RunRows
from swift.core.data.settings import check_settings
from swift.core.data.stream import EncodedStream
from swift.core.errors import DataError
from swift.core.protocols import Template
from swift.core.types import Conversation, Task

LONG_ENCODING = 60.0
"""Seconds after which a run without data.cache_dir is told of it."""


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
    """Read, normalise, mix, split, encode and pack the data of a run, or fetch it from the cache.

    Args:
        task: what the template was built for; errors mention it.
        seed: of counts, shuffling, splitting and mixing.
        folder: where the YAML file lies; relative paths are also looked up here.

    Raises:
        DataError: nothing can be read or nothing is left; the message says why.
        ConfigError: settings that contradict each other.
    """
    check_settings(data)
    rows = RunRows(data, seed, folder, hub)
    with _collector_paused():
        if data.streaming:
            return _streamed(rows, template, task)
        started = time.monotonic()
        encode = functools.partial(_encoded, rows, template, task)
        datasets = encode() if data.cache_dir is None else _cached(rows, template, task, Path(data.cache_dir))
        if data.cache_dir is None and time.monotonic() - started > LONG_ENCODING:
            say("data: set data.cache_dir to a folder, and later runs need not read and encode this again")
        return _packed(datasets, data, task, seed)


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


def _encoded(rows: RunRows, template: Template, task: Task) -> Datasets:
    read = rows.rows
    summary = read.summary()
    train = evaluation = None
    if rows.train:
        train, summary["train"] = encode_dataset(read.train, rows.data, template, task)
    if read.held_out:
        evaluation, summary["evaluation"] = encode_dataset(read.held_out, rows.data, template, task)
    return Datasets(train, evaluation, read.held_out, summary)


def _cached(rows: RunRows, template: Template, task: Task, folder: Path) -> Datasets:
    def make() -> dict[str, Any]:
        made = _encoded(rows, template, task)
        return {field.name: getattr(made, field.name) for field in fields(made)}

    found = fetch(folder.expanduser(), functools.partial(cache_key, rows, template, task), make)
    datasets = Datasets(**found.value)
    datasets.summary["cache"] = {"entry": found.key, "hit": found.hit}
    return datasets


def _packed(datasets: Datasets, data: DataConfig, task: Task, seed: int) -> Datasets:
    """Samples joined to packs, where packs are asked for."""
    if not data.packing or task not in ("causal_lm", "text"):
        return datasets
    for name, order in (("train", seed), ("evaluation", None)):
        samples = getattr(datasets, name)
        if isinstance(samples, EncodedDataset):
            packed = PackedDataset(samples, data.max_length, order)
            datasets.summary[name] |= {"packs": len(packed), "fill": packed.fill}
            setattr(datasets, name, packed)
    return datasets


def _streamed(rows: RunRows, template: Template, task: Task) -> Datasets:
    data = rows.data
    if data.split_ratio > 0 and not rows.held_out:
        raise DataError(
            "data.split_ratio cannot hold out rows of a stream", "name held-out data in data.val_dataset_name"
        )
    packs = data.packing and task in ("causal_lm", "text")
    stream = EncodedStream(rows.train, data, template, seed=rows.seed, packs=packs)
    summary: dict[str, Any] = {"sources": [{"name": source.name} for source in rows.train], "streaming": True}
    held_out, reports = rows.held_out_rows
    datasets = Datasets(None, None, held_out, summary)
    if held_out:
        summary["evaluation_sources"] = [report.to_dict() for report in reports]
        datasets.evaluation, summary["evaluation"] = encode_dataset(held_out, data, template, task)
    datasets = _packed(datasets, data, task, rows.seed)
    datasets.train = stream
    return datasets
