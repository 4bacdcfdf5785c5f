"""Weights by regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from swift.core.errors import ConfigError
from swift.core.template.loss_scale.check import checked_weight
from swift.core.template.loss_scale.pieces import Pieces, Weights, stretches
from swift.core.types import Message


class Regex:
    """What a pattern matches gets its weight, the rest 1; where patterns overlap, their weights multiply.

    A pattern with groups weighs only what its groups match: all of them alike, or each with its own weight
    from a list.

    Args:
        patterns: Python regular expression -> weight, or list of weights (one a group). (?s) at a pattern's
            start lets its dots match line breaks.
    """

    def __init__(self, *, patterns: Mapping[str, float | Sequence[float]]) -> None:
        if not isinstance(patterns, Mapping) or not patterns:
            raise ConfigError(
                f"data.loss_scale 'regex': patterns is {patterns!r}",
                'write {name: regex, config: {patterns: {"PATTERN": WEIGHT}}}',
            )
        self.rules = [_rule(pattern, weight) for pattern, weight in patterns.items()]

    def __call__(self, message: Message, text: str) -> Pieces:
        """The text cut where the weights change."""
        weights = np.ones(len(text))
        for pattern, factors in self.rules:
            weights *= _factors(pattern, factors, text)
        return [(text[start:end], weight) for start, end, weight in stretches(weights)]


def _rule(pattern: str, weight: float | Sequence[float]) -> tuple[re.Pattern[str], list[float]]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"data.loss_scale 'regex': the pattern {pattern!r} does not compile: {error}",
            "write Python's syntax of regular expressions",
        ) from None
    if not isinstance(weight, Sequence) or isinstance(weight, str):
        return compiled, [checked_weight(weight, "regex", pattern)]
    if len(weight) != compiled.groups or not weight:
        raise ConfigError(
            f"data.loss_scale 'regex': the pattern {pattern!r} has {compiled.groups} groups and "
            f"{len(weight)} weights",
            "write one weight for the match, or one for each group",
        )
    return compiled, [checked_weight(each, "regex", pattern) for each in weight]


def _factors(pattern: re.Pattern[str], weights: list[float], text: str) -> Weights:
    """[len(text)] one pattern's weight of each character."""
    factors = np.ones(len(text))
    for match in pattern.finditer(text):
        for place, (start, end) in enumerate(_spans(match)):
            factors[start:end] = weights[place if len(weights) > 1 else 0]
    return factors


def _spans(match: re.Match[str]) -> Iterator[tuple[int, int]]:
    groups = match.re.groups
    yield from (match.span(group) for group in (range(1, groups + 1) if groups else (0,)))
