"""Texts cut into weighted pieces. A strategy is a function that does so."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from swift.core.types import Message

Pieces = Sequence[tuple[str, float]]
"""Pieces of a text with their weights; together they are the text."""

LossScale = Callable[[Message, str], float | Pieces]
"""A strategy: (message, text) -> one weight for the whole text, or its pieces.

text is what the assistant wrote in the rendered turn, without what closes the turn; that takes the weight of
the last piece. message is the turn, and holds beside role and content:
    call_text: the part of text that is tool calls, "" without calls.
    last_round: whether no turn of the user's follows.
"""

Weights = npt.NDArray[np.float64]
Run = tuple[int, int, float]
"""First character, one past the last, weight."""


def covered(text: str, spans: Iterable[tuple[int, int]], weight: float) -> list[tuple[str, float]]:
    """The text with these spans, in order and disjoint, at a weight and the rest at 1."""
    pieces: list[tuple[str, float]] = []
    position = 0
    for start, end in spans:
        pieces += [(text[position:start], 1.0), (text[start:end], weight)]
        position = end
    rest = text[position:]
    return [*pieces, (rest, 1.0)] if rest or not pieces else pieces


def stretches(weights: Weights) -> list[Run]:
    """Maximal stretches of equal weight, in order."""
    if not len(weights):
        return []
    edges = [0, *(np.flatnonzero(np.diff(weights)) + 1).tolist(), len(weights)]
    return [(start, end, float(weights[start])) for start, end in itertools.pairwise(edges)]
