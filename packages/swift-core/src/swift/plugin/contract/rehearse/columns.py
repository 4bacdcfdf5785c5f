"""Columns of the user's data that a part reads by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import Parameter
from typing import Any

from swift.plugin.contract.check import NotApplicable
from swift.plugin.contract.signature import parameters_when_called


def columns_needed(part: Any, known: Iterable[str]) -> list[str]:
    """What it names without default beyond its two first arguments, those that are known aside."""
    further = list((parameters_when_called(part) or {}).values())[2:]
    named = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return [
        each.name
        for each in further
        if each.kind in named and each.default is Parameter.empty and each.name not in known
    ]


def refuse_columns(needed: Sequence[str]) -> str:
    """Raises NotApplicable: values for these columns cannot be made up."""
    raise NotApplicable(f"it reads the columns {', '.join(needed)} of your data, which are not known here")
