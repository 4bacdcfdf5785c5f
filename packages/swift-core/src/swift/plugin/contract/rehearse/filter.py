"""A filter (or mapper) on synthetic rows of the common formats."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from swift.core.errors import PluginError
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
    """It builds, and answers at least one of the common rows as the contract says; built anew, the same."""
    made = Made("filter", component, config)
    yield "builds", made.build
    yield "answers rows", lambda: _answers(made)
    yield "deterministic", lambda: _twice(component, config)


def _answers(made: Made) -> str:
    lacking: set[str] = set()
    answers = _run(made, lacking)
    for answer in answers:
        check_filter_value(made.component, answer)
    if not answers:
        raise NotApplicable(f"it reads columns of your own data: {', '.join(sorted(lacking))}")
    words = [
        "keeps" if each is True else "replaces" if isinstance(each, dict) else "drops" for each in answers
    ]
    return ", ".join(words)


def _run(made: Made, lacking: set[str]) -> list[Any]:
    """Its answers to the rows whose columns it can read."""
    answers = []
    for row in ROWS:
        try:
            answers.append(made.call(copy.deepcopy(row)))
        except PluginError as error:
            if not isinstance(error.__cause__, KeyError):
                raise
            lacking.add(str(error.__cause__.args[0]))
    return answers


def _twice(component: Component, config: Mapping[str, Any]) -> None:
    """What a filter remembers begins with each reading of the data."""
    results = []
    for _ in range(2):
        made = Made("filter", component, config)
        made.build()
        results.append(_run(made, set()))
    if results[0] != results[1]:
        raise made.fault(
            f"answers {results[0]} and then {results[1]} to the same rows", "remove what is random"
        )
