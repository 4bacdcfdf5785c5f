"""A learning-rate schedule over a short run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from swift.core.registry import Component
from swift.core.train.schedule import build_schedule
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.fault import fault
from swift.plugin.contract.rehearse.call import guarded

STEPS, WARMUP = 10, 2


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, every learning rate is finite and not negative, and it resumes where it was."""
    made: list[LRScheduler] = []
    yield "builds", lambda: _build(component, config, made)
    yield "learning rates", lambda: " ".join(f"{rate:.3g}" for rate in _rates(component, made[0], STEPS))
    yield "resumes", lambda: _resumes(component, config)


def _schedule(component: Component, config: Mapping[str, Any]) -> LRScheduler:
    optimizer = SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    return build_schedule(component, optimizer, STEPS, WARMUP, config)


def _build(component: Component, config: Mapping[str, Any], made: list[LRScheduler]) -> str:
    made.append(_schedule(component, config))
    return f"a {type(made[0]).__name__}"


def _rates(component: Component, schedule: LRScheduler, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rate = float(schedule.get_last_lr()[0])
        if not math.isfinite(rate) or rate < 0:
            raise fault("scheduler", component, f"sets the learning rate to {rate}", "a factor is at least 0")
        rates.append(rate)
        schedule.optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of the order of steps in a resumed schedule
            guarded("scheduler", component, "in step()", "correct its step()", schedule.step)
    return rates


def _resumes(component: Component, config: Mapping[str, Any]) -> None:
    whole, first, second = (_schedule(component, config) for _ in range(3))
    expected = _rates(component, whole, STEPS)[STEPS // 2 :]
    _rates(component, first, STEPS // 2)
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    found = _rates(component, second, STEPS - STEPS // 2)
    if any(not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(found, expected, strict=True)):
        raise fault(
            "scheduler",
            component,
            f"goes on with {found} after loading its state, instead of {expected}",
            "keep everything that it counts in state_dict()",
        )
