"""The user's filters: called on every row as it was read, before its format is recognised."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from swift.core import registry
from swift.core.config.named import Named
from swift.core.data.read import ReadCounts, Row, canonical_bytes
from swift.core.errors import RAISED_BY_PLUGINS, PluginError, SwiftError, in_one_line
from swift.plugin.parts import build_component

CONTRACT = (
    "a filter is called as (row: dict, **config) and returns True (keep the row), False or None (drop it), "
    "or a dict (the row that takes its place); batch(rows), where it has one, returns one such answer a row"
)
CHUNK = 256
"""Rows that a filter with batch() sees at a time."""


class RowFilter:
    """One filter of a run, with its arguments.

    Args:
        named: its name and arguments.

    Raises:
        RegistryError: unknown name.
        PluginError: arguments that it does not take.
    """

    def __init__(self, named: Named) -> None:
        component = registry.filters.get(named.name)
        self.name = named.name
        self.described = component.described("filter")
        self.part: Callable[[dict[str, Any]], Any] = build_component("filter", component, named.config)
        self.batch: Callable[[list[dict[str, Any]]], Any] | None = getattr(self.part, "batch", None)

    def apply(self, rows: list[Row]) -> list[Row]:
        """The rows that stay, as they are or replaced.

        Raises:
            PluginError: the filter fails or breaks its contract; the message names the row.
            SandboxError: its process was stopped.
        """
        answers = self._one_by_one(rows) if self.batch is None else self._together(rows, self.batch)
        kept = []
        for (row, origin), answer in zip(rows, answers, strict=True):
            if isinstance(answer, dict):
                kept.append((answer, origin))
            elif isinstance(answer, bool | np.bool_):
                kept += [(row, origin)] if answer else []
            elif answer is not None:
                raise PluginError(
                    f"{self.described} returned {type(answer).__name__} for {origin}: {answer!r:.80}",
                    CONTRACT,
                )
        return kept

    def _one_by_one(self, rows: list[Row]) -> list[Any]:
        answers = []
        for row, origin in rows:
            try:
                answers.append(self.part(row))
            except SwiftError:
                raise
            except RAISED_BY_PLUGINS as error:
                raise self._failed(origin, error) from error
        return answers

    def _together(self, rows: list[Row], batch: Callable[[list[dict[str, Any]]], Any]) -> list[Any]:
        span = rows[0][1] if len(rows) == 1 else f"{rows[0][1]} to {rows[-1][1]}"
        try:
            answers = list(batch([row for row, _ in rows]))
        except SwiftError:
            raise
        except RAISED_BY_PLUGINS as error:
            raise self._failed(span, error) from error
        if len(answers) != len(rows):
            raise PluginError(
                f"{self.described} returned {len(answers)} answers for {len(rows)} rows, {span}", CONTRACT
            )
        return answers

    def _failed(self, origin: str, error: BaseException) -> PluginError:
        return PluginError(f"{self.described} failed at {origin}: {in_one_line(error)}", CONTRACT)


def build_filters(names: Sequence[Named]) -> list[RowFilter]:
    """Fresh filters for one reading of one data set, so that what they remember ends with it."""
    return [RowFilter(named) for named in names]


def filtered(rows: Iterator[Row], filters: Sequence[RowFilter], counts: ReadCounts) -> Iterator[Row]:
    """Rows that pass all filters, in order; each filter sees what the one before it left.

    Args:
        counts: gets the rows that each filter dropped, and the digest of those that are left.
    """
    counts.kept = hashlib.sha256()
    size = CHUNK if any(each.batch is not None for each in filters) else 1  # read ahead only for a reason
    while chunk := list(itertools.islice(rows, size)):
        for each in filters:
            before = len(chunk)
            chunk = each.apply(chunk) if chunk else chunk
            counts.filtered[each.name] = counts.filtered.get(each.name, 0) + before - len(chunk)
        for row, origin in chunk:
            counts.kept.update(canonical_bytes(row))
            yield row, origin
