"""What an entry of `data.dataset_name` says beside the name: NAME[:SUBSET[/SUBSET...]][#COUNT]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from swift.core.errors import DataError

HUB_PREFIXES = ("huggingface:", "modelscope:")


@dataclass(frozen=True)
class Entry:
    """One entry, taken apart.

    Attributes:
        written: as the user wrote it.
        name: file, folder, registered name or hub id, with the prefix of a hub if there is one.
        subsets: hub configurations, parts of a folder, or what a registered data set calls its subsets.
        count: rows to draw; None takes each once.
    """

    written: str
    name: str
    subsets: tuple[str, ...] = ()
    count: int | None = None

    @property
    def label(self) -> str:
        """What errors call its rows: the entry without the count."""
        return f"{self.name}:{'/'.join(self.subsets)}" if self.subsets else self.name


def parse_entry(written: str, is_name: Callable[[str], bool]) -> Entry:
    """Take an entry apart.

    Args:
        is_name: whether a text is a name as it stands (an existing file, a registered data set), so that
            real names may hold `#` and `:`.

    Raises:
        DataError: the count is no number of rows, or a subset has no name.
    """
    if is_name(written):
        return Entry(written, written)
    head, mark, tail = written.rpartition("#")
    if not mark:
        return _with_subsets(written, written, None, is_name)
    return _with_subsets(written, head, _count(written, tail), is_name)


def _count(written: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise DataError(
            f"data set {written!r} asks for {text!r} rows, which is not a whole number from 1 on",
            "write NAME#COUNT, such as NAME#1000, or NAME for all rows "
            "(a file whose own name holds '#' is taken as it is, where it exists)",
        )
    return int(text)


def _with_subsets(written: str, text: str, count: int | None, is_name: Callable[[str], bool]) -> Entry:
    prefix = next((prefix for prefix in HUB_PREFIXES if text.startswith(prefix)), "")
    name, mark, tail = text.removeprefix(prefix).rpartition(":")
    if is_name(text) or not mark:
        return Entry(written, text, (), count)
    subsets = tuple(tail.split("/"))
    if not all(subsets) or not name:
        raise DataError(
            f"data set {written!r} has an empty {'subset' if name else 'name'}",
            "write NAME:SUBSET, NAME:SUBSET1/SUBSET2, or NAME alone",
        )
    return Entry(written, prefix + name, subsets, count)
