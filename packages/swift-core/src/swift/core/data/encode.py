"""Rows to samples in memory, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from swift.core.config.schema import DataConfig
from swift.core.data.dataset import EncodedDataset
from swift.core.errors import DataError
from swift.core.protocols import Template
from swift.core.types import Conversation, Encoded, Task

CHUNK = 2000
"""Rows encoded together: enough to share the fixed costs, few enough to bound the memory."""


def encode_dataset(
    rows: list[Conversation], data: DataConfig, template: Template, task: Task
) -> tuple[EncodedDataset, dict[str, Any]]:
    """All samples of these rows, and the counts for run.json.

    Raises:
        DataError: a row cannot be encoded (with data.on_error="raise"), or nothing is left.
    """
    before = _statistics(template)
    skipped: list[DataError] = []
    samples = list(encode_rows(rows, template, data.on_error == "skip", skipped))
    after = _statistics(template)
    counts: dict[str, Any] = {
        key: after[key] - before.get(key, 0) for key in ("dropped", "truncated") if key in after
    }
    if not samples:
        raise _nothing_left(rows, data, task, after, skipped)
    dataset = EncodedDataset(samples)
    return dataset, {
        "rows": len(rows),
        "samples": len(samples),
        "unencodable": len(skipped),
        **counts,
        "tokens": int(dataset.lengths.sum()),
        "supervised_tokens": dataset.supervised_tokens,
        "longest": int(dataset.lengths.max()),
    }


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
