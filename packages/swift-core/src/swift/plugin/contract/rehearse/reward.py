"""A reward on synthetic prompts and completions."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from swift.core.registry import Component
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.fault import fault
from swift.plugin.contract.rehearse.call import Made
from swift.plugin.contract.rehearse.columns import columns_needed, refuse_columns

PROMPTS = [
    [{"role": "user", "content": "What is 6 times 7?"}],
    [{"role": "user", "content": "What is 2 plus 2?"}],
    [{"role": "user", "content": "Name a colour."}],
]
COMPLETIONS = ["42", "It is 5.", ""]
COLUMNS = {"answer": ["42", "4", "red"], "solution": ["42", "4", "red"], "label": [1, 0, 1]}


def check_reward_values(component: Component, values: Any, completions: Sequence[str]) -> list[float]:
    """The rewards as floats.

    Raises:
        PluginError: not one finite number for each completion.
    """
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, RuntimeError):
        raise fault(
            "reward", component, f"returned {values!r}", "return a list with one float for each completion"
        ) from None
    if len(numbers) != len(completions):
        raise fault(
            "reward",
            component,
            f"returned {len(numbers)} values for {len(completions)} completions",
            "return one float for each completion, in their order",
        )
    for number, completion in zip(numbers, completions, strict=True):
        if not math.isfinite(number):
            raise fault("reward", component, f"returned {number} for {completion!r}", "return finite numbers")
    return numbers


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, scores every completion, the same twice."""
    made = Made("reward", component, config)
    yield "builds", made.build
    needed = columns_needed(made.part, COLUMNS)
    if needed:
        yield "finite", functools.partial(refuse_columns, needed)
        return
    yield "finite", lambda: f"{_score(made)} for {COMPLETIONS}"
    yield "deterministic", lambda: _twice(made)


def _score(made: Made) -> list[float]:
    return check_reward_values(made.component, made.call(PROMPTS, COMPLETIONS, **COLUMNS), COMPLETIONS)


def _twice(made: Made) -> None:
    first, second = _score(made), _score(made)
    if first != second:
        raise made.fault(
            f"returned {first} and then {second} for the same completions",
            "draw random numbers from a seed made of the completion",
        )
