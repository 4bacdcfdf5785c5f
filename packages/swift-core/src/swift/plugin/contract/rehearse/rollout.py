"""An environment, or a function that schedules the turns, on a made-up episode."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from swift.core.registry import Component
from swift.plugin.contract.check import NotApplicable, Rehearsal
from swift.plugin.contract.rehearse.call import Made, guarded

MESSAGES = [{"role": "user", "content": "What is 6 times 7?"}]
COLUMNS = {"answer": "42"}
ANSWERS = ("I do not know.", "42")


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, and replies to answers with turns."""
    made = Made("rollout", component, config)
    yield "builds", made.build
    yield "replies", lambda: _play(made)


def _play(made: Made) -> str:
    """One episode of the answers above, or until the environment ends it."""
    reset = getattr(made.part, "reset", None)
    if callable(reset):
        guarded("rollout", made.component, "in reset()", "correct it", reset, list(MESSAGES), COLUMNS)
    said = []
    for turn, answer in enumerate(ANSWERS):
        reply = _reply(made, answer, turn)
        said.append("done" if reply.done else f"{len(reply.messages)} messages")
        if reply.done:
            break
    return ", then ".join(said)


def _reply(made: Made, answer: str, turn: int) -> Any:
    step = getattr(made.part, "step", None)
    if callable(step):
        reply = guarded("rollout", made.component, "in step()", "correct it", step, answer)
    else:
        reply = made.call(list(MESSAGES), answer, turn, COLUMNS)
    if inspect.isawaitable(reply):
        if inspect.iscoroutine(reply):
            reply.close()
        raise NotApplicable("coroutines are only run in roll-outs")
    _check_turn(made, reply)
    return reply


def _check_turn(made: Made, reply: Any) -> None:
    if not all(hasattr(reply, name) for name in ("messages", "done", "reward")):
        raise made.fault(
            f"replied with a {type(reply).__name__}",
            "return Turn(messages, done, reward) of swift.rlhf.rollout",
        )
    if not isinstance(reply.reward, int | float) or not math.isfinite(reply.reward):
        raise made.fault(f"gave the reward {reply.reward!r}", "a finite number")
    if not reply.done and not reply.messages:
        raise made.fault("neither ended the episode nor replied", "set done=True, or reply with messages")
