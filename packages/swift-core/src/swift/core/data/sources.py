"""The data sets of a run: found, read, normalised, counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swift.core.config.named import Named
from swift.core.config.schema import DataConfig
from swift.core.data.filters import build_filters, filtered
from swift.core.data.formats import to_conversation
from swift.core.data.mix import StoppingStrategy, drawn, from_lists, mixed
from swift.core.data.names import Hub
from swift.core.data.read import ReadCounts, read_rows
from swift.core.data.registered import ConversationRow
from swift.core.data.source import Source, find_source
from swift.core.errors import ConfigError, DataError
from swift.core.types import Conversation


@dataclass(slots=True)
class SourceReport:
    """What was read of one data set."""

    name: str
    counts: ReadCounts = field(default_factory=ReadCounts)
    used: int = 0
    drawn: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For run.json; the fingerprint is the SHA-256 of the files' bytes, or else of the rows.

        rows_used are good rows, rows_drawn those that a count made of them.
        """
        filtered = {"rows_filtered": dict(self.counts.filtered)} if self.counts.kept is not None else {}
        return {
            "name": self.name,
            "rows_read": self.counts.read,
            "rows_skipped": self.counts.skipped,
            **filtered,
            "rows_used": self.used,
            "rows_drawn": self.drawn,
            "fingerprint": self.counts.digest.hexdigest(),
        }


def find_sources(names: Sequence[str | Named], folder: Path | None, hub: Hub = "huggingface") -> list[Source]:
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
    """Filtered and normalised rows of one source, at most data.max_samples of them.

    Raises:
        DataError: a row cannot be parsed or recognised (with data.on_error="raise").
    """
    rows = read_rows(source, on_error=data.on_error, split=data.split, counts=report.counts)
    if data.filters:
        rows = filtered(rows, build_filters(data.filters), report.counts)
    for row, origin in rows:
        if data.max_samples is not None and report.used >= data.max_samples:
            return
        try:
            conversation = _recognised(row, origin, data, source)
        except DataError:
            if data.on_error == "raise":
                raise
            report.counts.skipped += 1
            continue
        report.used += 1
        yield conversation


def _recognised(row: dict[str, Any], origin: str, data: DataConfig, source: Source) -> Conversation:
    if not isinstance(row, ConversationRow):
        return to_conversation(row, origin, data.columns, folder=source.folder)
    row.conversation.origin = row.conversation.origin or origin
    return row.conversation


def read_sources(
    sources: Sequence[Source],
    data: DataConfig,
    seed: int,
    *,
    weights: Sequence[float] | None = None,
    strategy: StoppingStrategy | None = None,
) -> tuple[list[Conversation], list[SourceReport]]:
    """Every row of these data sets, as many of each as asked for, joined or interleaved.

    Args:
        seed: of the choice of rows and of interleaving.
        weights, strategy: see mix.mixed().

    Raises:
        DataError: a data set without usable rows, or a row that cannot be used.
    """
    reports = [SourceReport(source.name) for source in sources]
    parts = []
    for number, (source, report) in enumerate(zip(sources, reports, strict=True)):
        part = list(conversations(source, data, report))
        if not part:
            raise _no_rows(report)
        parts.append(drawn(part, source.count, [seed, number]))
        report.drawn = len(parts[-1])
    return list(mixed(from_lists(parts), weights, strategy, seed)), reports


def _no_rows(report: SourceReport) -> DataError:
    counts = report.counts
    dropped = "".join(f", {count} dropped by filter {name!r}" for name, count in counts.filtered.items())
    seen = f"read {counts.read}, skipped {counts.skipped}{dropped}"
    return DataError(
        f"data set {report.name!r} has no usable rows ({seen})",
        "check the file; data.on_error=raise shows why rows were skipped",
    )
