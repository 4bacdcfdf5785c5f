"""Rows of several data sets as one: how many of each, and whose turn it is."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, Literal, TypeVar

import numpy as np

from swift.core.errors import ConfigError, DataError

Item = TypeVar("Item")
Opener = Callable[[], Iterator[Item]]
"""Starts reading a data set from its first row."""

StoppingStrategy = Literal["first_exhausted", "all_exhausted"]

_END = object()


def drawn(rows: Sequence[Item], count: int | None, seed: Sequence[int]) -> list[Item]:
    """That many rows: all of them as often as they fit, then a random rest, each row once, in order.

    Args:
        count: rows wanted; None takes each once.
        seed: of the choice.
    """
    if count is None:
        return list(rows)
    passes, rest = divmod(count, len(rows))
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), size=rest, replace=False))
    return [*itertools.chain.from_iterable([rows] * passes), *(rows[index] for index in chosen.tolist())]


def counted(open_rows: Opener[Item], count: int | None, name: str) -> Iterator[Item]:
    """The first rows of a stream, from its start again where it has fewer.

    Raises:
        DataError: it has none.
    """
    if count is None:
        yield from open_rows()
        return
    left = count
    while left > 0:
        before = left
        for row in itertools.islice(open_rows(), left):
            left -= 1
            yield row
        if left == before:
            raise DataError(f"data set {name!r} has no usable rows", "check the data set and data.filters")


def mixed(
    openers: Sequence[Opener[Item]],
    weights: Sequence[float] | None,
    strategy: StoppingStrategy | None,
    seed: int,
) -> Iterator[Item]:
    """Rows of all data sets: one set after the other, or interleaved.

    Args:
        weights: probabilities (up to their sum) of the independent draws that choose the next data set.
        strategy: where interleaving ends; without it and without weights data sets are joined, with it alone
            they take turns.
        seed: of the draws.

    Raises:
        ConfigError: weights that are none.
    """
    if weights is None and strategy is None:
        yield from itertools.chain.from_iterable(opener() for opener in openers)
        return
    count = len(openers)
    probabilities = checked_weights(weights, count) if weights is not None else [1 / count] * count
    rounds: Iterator[Sequence[int]] = (
        ((number,) for number in draw(probabilities, seed))
        if weights is not None
        else itertools.repeat(range(count))
    )
    taking_part = {number for number, probability in enumerate(probabilities) if probability > 0}
    yield from interleaved(openers, rounds, taking_part, strategy or "first_exhausted")


def interleaved(
    openers: Sequence[Opener[Item]],
    rounds: Iterable[Sequence[int]],
    taking_part: set[int],
    strategy: StoppingStrategy,
) -> Iterator[Item]:
    """Rows in the order of the data sets' turns, as interleave_datasets() of the `datasets` library has it.

    first_exhausted ends with the round in which any data set comes to its end, all_exhausted with the one
    after which each was read to its end at least once; until then those that end start again.

    Args:
        rounds: numbers of data sets, each at most once in a round.
        taking_part: all numbers that ever come.
    """
    readers = [Repeating(opener) for opener in openers]
    unfinished = set(taking_part)
    for numbers in rounds:
        for number in numbers:
            row, is_last = readers[number].take()
            if row is _END:
                return
            yield row  # type: ignore[misc]
            if is_last:
                unfinished.discard(number)
        if not unfinished or (strategy == "first_exhausted" and unfinished < taking_part):
            return


class Repeating(Generic[Item]):
    """A data set that starts again when it ends, and knows its last row."""

    def __init__(self, open_rows: Opener[Item]) -> None:
        self._open = open_rows
        self._rows: Iterator[Item] | None = None
        self._next: Item | object = _END

    def take(self) -> tuple[Item | object, bool]:
        """A row and whether the data set ends with it; _END where it has no rows at all."""
        if self._rows is None:
            self._rows = self._open()
            self._next = next(self._rows, _END)
        row, self._next = self._next, next(self._rows, _END)
        if self._next is _END:
            self._rows = None
        return row, self._next is _END


def draw(probabilities: Sequence[float], seed: int) -> Iterator[int]:
    """Endless independent draws of a data set's number."""
    generator = np.random.default_rng(seed)
    while True:
        yield from generator.choice(len(probabilities), size=1024, p=probabilities).tolist()


def checked_weights(weights: Sequence[float], count: int) -> list[float]:
    """Weights as probabilities.

    Raises:
        ConfigError: not one weight a data set, a negative or infinite one, or all zero.
    """
    usable = all(math.isfinite(weight) and weight >= 0 for weight in weights)
    if len(weights) != count or not usable or sum(weights) <= 0:
        raise ConfigError(
            f"data.weights is {list(weights)} for {count} data sets",
            "give one weight >= 0 for each entry of data.dataset_name, not all zero",
        )
    return [weight / sum(weights) for weight in weights]


def from_lists(parts: Sequence[Sequence[Item]]) -> list[Opener[Item]]:
    """Openers of rows that are in memory."""
    return [functools.partial(iter, part) for part in parts]
