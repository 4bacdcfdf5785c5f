"""Rows of one source, each with its origin."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from swift.core.data.json_rows import read_json
from swift.core.data.library import file_rows, foreign_rows
from swift.core.data.source import Source, find_source
from swift.core.data.source_local import JSON_SUFFIXES
from swift.core.errors import DataError

__all__ = ["ReadCounts", "Row", "Source", "find_source", "read_rows"]

Row = tuple[dict[str, Any], str]
"""Columns and the origin, "file:line" or "name[row]"."""


@dataclass(slots=True)
class ReadCounts:
    """What happened to the rows of one source.

    Attributes:
        filtered: rows that each filter dropped.
        digest: SHA-256 of the files' bytes, or else of the rows.
        kept: SHA-256 of the rows that filters let through; None without filters.
    """

    read: int = 0
    skipped: int = 0
    filtered: dict[str, int] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256, repr=False)
    kept: Any = field(default=None, repr=False)


def read_rows(
    source: Source,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    split: str = "train",
    counts: ReadCounts | None = None,
) -> Iterator[Row]:
    """Rows of a source in a stable order.

    Args:
        on_error: skip counts a row that cannot be parsed and goes on.
        split: split of a hub or saved data set.
        counts: filled while reading; its digest covers the bytes of local files or the rows of the others.

    Raises:
        DataError: a row cannot be parsed (with on_error="raise"), or the source cannot be opened.
    """
    counts = counts if counts is not None else ReadCounts()
    for row, origin in _items(source, split, counts):
        if isinstance(row, dict):
            counts.read += 1
            yield row, origin
            continue
        counts.skipped += 1
        if on_error == "raise":
            raise row if isinstance(row, DataError) else _not_an_object(row, origin)


def _not_an_object(value: Any, origin: str) -> DataError:
    return DataError(
        f"{origin}: the row is {_short(value)}, not an object with named columns",
        'write {"column": value, ...}, or set data.on_error=skip to count it and go on',
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _items(source: Source, split: str, counts: ReadCounts) -> Iterator[tuple[Any, str]]:
    if source.kind == "files":
        for file in source.files:
            yield from _file_items(file, counts)
        return
    rows = foreign_rows(source, split)
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            counts.digest.update(canonical_bytes(row))
        yield row, f"{source.label}[{index}]"


def _file_items(file: Path, counts: ReadCounts) -> Iterator[tuple[Any, str]]:
    counts.digest.update(file_digest(file))
    if file.suffix.lower() in JSON_SUFFIXES:
        for item in read_json(file):
            yield (item, str(file)) if isinstance(item, DataError) else (item[0], f"{file}:{item[1]}")
        return
    for index, row in enumerate(file_rows(file)):
        yield row, f"{file}[{index}]"


def file_digest(file: Path) -> bytes:
    """SHA-256 of a file's bytes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").digest()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from None


def canonical_bytes(row: dict[str, Any]) -> bytes:
    """One row as bytes that do not depend on key order, process or run."""
    return json.dumps(row, sort_keys=True, ensure_ascii=False, default=_stable).encode() + b"\n"


def _stable(value: Any) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | Decimal):
        return f"{type(value).__name__} {value}"
    to_bytes = getattr(value, "tobytes", None)  # arrays and images
    if not callable(to_bytes):
        return type(value).__name__
    layout = f"{getattr(value, 'dtype', '')}{getattr(value, 'mode', '')}{getattr(value, 'shape', '')}"
    return hashlib.sha256(layout.encode() + to_bytes()).hexdigest()
