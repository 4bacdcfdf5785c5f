"""A template on two conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from swift.core.registry import Component
from swift.core.types import IGNORE_INDEX, Encoded
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.rehearse.call import Made, guarded, named_by

SETTINGS: dict[str, Any] = {
    "max_length": 128,
    "truncation": "delete",
    "loss_turns": "all",
    "task": "causal_lm",
    "media": None,
}


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, encodes every row, learns the assistant's tokens and no others, the same twice."""
    from swift.plugin.contract.rehearse import tiny

    made = Made("template", component, {**named_by(component, SETTINGS), **config}, tiny.tokenizer())
    yield "builds", made.build
    yield "encodes", lambda: _encode(made)
    yield "deterministic", lambda: _twice(made)


def _rows(made: Made) -> list[Encoded]:
    from swift.plugin.contract.rehearse import tiny

    rows = tiny.conversations("causal_lm")
    result = list(
        guarded("template", made.component, "in encode()", "correct encode()", made.part.encode, rows)
    )
    if len(result) != len(rows) or not all(isinstance(each, Encoded) for each in result):
        raise made.fault(
            f"encodes {len(rows)} conversations to {len(result)} results",
            "return one swift.core.types.Encoded for each, in order",
        )
    return result


def _encode(made: Made) -> str:
    rows = _rows(made)
    for row in rows:
        ids, labels = np.asarray(row.input_ids), np.asarray(row.labels)
        if ids.shape != labels.shape or ids.ndim != 1:
            raise made.fault(
                f"returns input_ids {ids.shape} and labels {labels.shape}", "both are [T], one entry a token"
            )
        learned = labels != IGNORE_INDEX
        if not learned.any():
            raise made.fault("learns no token", f"labels: the token where it is learned, else {IGNORE_INDEX}")
        if (labels[learned] != ids[learned]).any():
            raise made.fault("has labels that differ from the tokens", "do not shift them: the trainer does")
    return ", ".join(
        f"{len(row.input_ids)} tokens, {int((row.labels != IGNORE_INDEX).sum())} learned" for row in rows
    )


def _twice(made: Made) -> None:
    for first, second in zip(_rows(made), _rows(made), strict=True):
        if not np.array_equal(first.input_ids, second.input_ids):
            raise made.fault("encodes a row differently the second time", "remove what is random")
