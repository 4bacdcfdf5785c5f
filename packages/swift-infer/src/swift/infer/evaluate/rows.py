"""Rows of a file of questions, with the place of each. Cells of CSV stay texts: 0042 is no number here."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.data.read import ReadCounts, find_source, read_rows
from swift.core.errors import DataError

Row = dict[str, Any]
DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Questions:
    """Rows as a benchmark reads them, and how many of the file could not be used."""

    rows: list[Row]
    skipped: int


def convert(path: Path, to_question: Callable[[Row, str], Row], *, skip: bool) -> Questions:
    """Every row of a file as to_question writes it.

    Args:
        skip: count a row that cannot be used and go on.

    Raises:
        DataError: no such file, no usable row, or a row that cannot be used, with its line.
    """
    if not path.is_file():
        raise DataError(f"no file {str(path)!r}", f"looked in {Path.cwd()}")
    counts = ReadCounts()
    rows = []
    for row, origin in _rows(path, counts, skip=skip):
        try:
            rows.append(to_question(_whole(row, origin), origin))
        except DataError as error:
            if not skip:
                raise DataError(
                    error.problem, error.remedy or "correct the row, or set data.on_error=skip"
                ) from error
            counts.skipped += 1
    if not rows:
        raise DataError(f"{str(path)!r} holds no question ({counts.skipped} rows that cannot be used)")
    return Questions(rows, counts.skipped)


def _whole(row: dict[Any, Any], origin: str) -> Row:
    if None in row:  # where csv puts what is beyond the columns
        raise DataError(
            f"{origin}: the row has more cells than the table has columns", "quote cells with commas"
        )
    return row


def _rows(path: Path, counts: ReadCounts, *, skip: bool) -> Iterator[tuple[Row, str]]:
    delimiter = DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        return read_rows(find_source(str(path)), on_error="skip" if skip else "raise", counts=counts)
    return _table_rows(path, delimiter)


def _table_rows(path: Path, delimiter: str) -> Iterator[tuple[Row, str]]:
    """Rows of a CSV file by column; the origin is the line on which a row ends. Empty cells are left out."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            for row in reader:
                origin = f"{path}:{reader.line_num}"
                yield {name: value for name, value in row.items() if value not in (None, "")}, origin
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}:{reader.line_num + 1}: not a table: {error}") from error
