"""The first rows of a data set, read and recognised as the pipeline does."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from swift.core.registry import Component
from swift.core.types import Conversation
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.rehearse.call import Made, guarded

ROWS = 3


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, yields rows of a known format, the same ones twice."""
    made = Made("dataset", component, config)
    yield "builds", made.build
    yield "rows", lambda: _recognised(made)
    yield "deterministic", lambda: _twice(component, config)


def first_rows(made: Made) -> list[Any]:
    """The first rows, or conversations where it yields these.

    Raises:
        PluginError: reading fails, there are none, or one is no dictionary.
    """
    read = getattr(made.part, "conversations", None)
    rows = guarded(
        "dataset",
        made.component,
        "while it is read",
        "correct its iteration",
        lambda: list(itertools.islice(iter(read() if callable(read) else made.part), ROWS)),
    )
    if not rows:
        raise made.fault("yields no rows", "yield dictionaries, such as {'messages': [...]}")
    for row in rows:
        if not isinstance(row, dict | Conversation):
            raise made.fault(
                f"yields a {type(row).__name__}", "yield dictionaries, such as {'messages': [...]}"
            )
    return rows


def _recognised(made: Made) -> str:
    from swift.core.data.formats import to_conversation

    rows = first_rows(made)
    for index, row in enumerate(rows):
        if isinstance(row, dict):
            to_conversation(row, f"{made.component.described('dataset')}, row {index}")
    columns = ", ".join(rows[0]) if isinstance(rows[0], dict) else "conversations"
    return f"{len(rows)} of its first {ROWS}: {columns}"


def _twice(component: Component, config: Mapping[str, Any]) -> None:
    results = []
    for _ in range(2):
        made = Made("dataset", component, config)
        made.build()
        results.append(first_rows(made))
    if results[0] != results[1]:
        raise made.fault("yields other rows when it is built again", "give random choices a fixed seed")
