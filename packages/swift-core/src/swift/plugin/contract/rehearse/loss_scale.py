"""A loss scale on assistant turns of several sorts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swift.core.registry import Component
from swift.core.template.loss_scale.check import spread
from swift.core.types import Message
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.rehearse.call import Made

CALL = '<tool_call>\n{"name": "add", "arguments": {"one": 1}}\n</tool_call>'
TURNS = {
    "plain": "It is 42.",
    "thinking": "<think>\nSix sevens.\n</think>\n\nIt is 42.",
    "a call": f"One moment.\n{CALL}",
    "empty": "",
}


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, and every text gets weights: finite, at least 0, one for each of its characters."""
    made = Made("loss scale", component, config)
    yield "builds", made.build
    yield "weights", lambda: _weights(made)


def _weights(made: Made) -> str:
    said = []
    for name, text in TURNS.items():
        message: Message = {
            "role": "assistant",
            "content": text,
            "call_text": CALL if CALL in text else "",
            "last_round": True,
        }
        first, second = (made.call(dict(message), text) for _ in range(2))
        weights = spread(first, text, made.component.described("loss scale"), f"a {name} turn")
        if (spread(second, text, made.component.name, name) != weights).any():
            raise made.fault("weighs a text differently the second time", "remove what is random")
        said.append(f"{name} {weights[:-1].min(initial=1.0):g} to {weights[:-1].max(initial=0.0):g}")
    return ", ".join(said[:-1])
