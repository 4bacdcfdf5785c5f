"""What a strategy may be given, and what it may return."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from swift.core.errors import ConfigError, PluginError
from swift.core.template.loss_scale.pieces import Weights


def is_weight(value: Any) -> bool:
    """Whether a value can be a weight: a finite number of at least 0."""
    return isinstance(value, Real) and math.isfinite(value) and float(value) >= 0


def checked_weight(value: Any, strategy: str, key: str) -> float:
    """A weight of a configuration.

    Raises:
        ConfigError: not a finite number of at least 0.
    """
    if isinstance(value, bool) or not is_weight(value):
        raise ConfigError(
            f"data.loss_scale {strategy!r}: the weight of {key!r} is {value!r}",
            "write a finite number of at least 0; 0 leaves tokens out of the loss",
        )
    return float(value)


def spread(result: Any, text: str, described: str, origin: str) -> Weights:
    """What a strategy returned as weights of the characters, and of what closes the turn.

    Returns:
        [len(text) + 1] the last one is the last piece's.

    Raises:
        PluginError: the contract is broken; the message names strategy and row.
    """
    if is_weight(result):
        return np.full(len(text) + 1, float(result))
    if not isinstance(result, list | tuple) or not all(map(_is_piece, result)):
        raise PluginError(
            f"{described} returned {_short(result)} for a turn of {origin}",
            "return one weight (a finite number of at least 0), or a list of (text, weight)",
        )
    together = "".join(piece for piece, _ in result)
    if together != text:
        raise PluginError(
            f"{described}: its pieces for a turn of {origin} are not the text: "
            f"{_short(together)} instead of {_short(text)}",
            "cut the text it is given, and return every piece of it in order",
        )
    weights = [float(weight) for _, weight in result] or [1.0]
    lengths = [len(piece) for piece, _ in result] or [0]
    return np.append(np.repeat(weights, lengths), weights[-1])


def _is_piece(piece: Any) -> bool:
    return (
        isinstance(piece, list | tuple)
        and len(piece) == 2
        and isinstance(piece[0], str)
        and is_weight(piece[1])
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
