"""A filter (or mapper) on synthetic rows of the common formats."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from swift.core.registry import Component
from swift.plugin.contract.check import NotApplicable, Rehearsal
from swift.plugin.contract.fault import fault
from swift.plugin.contract.rehearse.call import Made

ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]},
    {"instruction": "Add 2 and 2.", "input": "", "output": "4"},
    {"prompt": "What is 6 times 7?", "response": "42", "answer": "42"},
    {"text": "A sentence to learn from.", "label": 1},
]


def check_filter_value(component: Component, value: Any) -> None:
    """Refuse what is neither a verdict nor a row.

    Raises:
        PluginError: something else.
    """
    if value is None or isinstance(value, bool | dict):
        return
    raise fault(
        "filter",
        component,
        f"returned a {type(value).__name__}",
        "return True to keep the row, False or None to drop it, or a dictionary in its place",
    )


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, and answers at least one of the common rows as the contract says, the same twice."""
    made = Made("filter", component, config)
    yield "builds", made.build
    yield "answers rows", lambda: _answers(made)


def _answers(made: Made) -> str:
    verdicts = []
    lacking: set[str] = set()
    for row in ROWS:
        try:
            first, second = (made.call(copy.deepcopy(row)) for _ in range(2))
        except Exception as error:
            cause = error.__cause__
            if not isinstance(cause, KeyError):
                raise
            lacking.add(str(cause.args[0]))  # a column of the user's own data
            continue
        check_filter_value(made.component, first)
        if first != second:
            raise made.fault(
                f"returned {first!r} and then {second!r} for the same row", "remove what is random"
            )
        verdicts.append("keeps" if first is True else "replaces" if isinstance(first, dict) else "drops")
    if not verdicts:
        raise NotApplicable(f"it reads columns of your own data: {', '.join(sorted(lacking))}")
    return ", ".join(verdicts)
