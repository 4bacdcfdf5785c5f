"""The learning rate over time: a schedule of transformers, or a registered one.

A registered schedule is one of two things, told apart by the name of its first parameter:

* a function `(step, **arguments) -> float`: the factor of the peak learning rate before that step;
* a factory `(optimizer, **arguments) -> LRScheduler`, for instance a class of torch.optim.lr_scheduler.

Either also gets num_training_steps and num_warmup_steps where it names them (or takes **arguments).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, get_scheduler
from transformers.trainer_utils import SchedulerType

from swift.core.config.schema import OptimConfig
from swift.core.errors import RAISED_BY_PLUGINS, ConfigError, PluginError, SwiftError, in_one_line
from swift.core.registry import Component, schedulers
from swift.core.train.plain_state import check_plain_state
from swift.plugin.parts import build_component, check_arguments, parameters_of, takes

BY_METRIC = (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)
_WITHOUT_ARGUMENTS = (SchedulerType.CONSTANT, SchedulerType.CONSTANT_WITH_WARMUP)
_GIVEN = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")
_REHEARSED = 1000  # steps, where the length of the run is not known


def _factor(
    component: Component, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> Callable[[int], float]:
    """A registered function of the step, as LambdaLR calls it; a plain function leaves nothing in its state.

    Raises, when called:
        PluginError: the function fails, or returns something that is not a finite number of at least 0.
    """
    described = component.described("scheduler")

    def factor(step: int) -> float:
        try:
            value = function(step, **arguments)
        except SwiftError:
            raise
        except RAISED_BY_PLUGINS as error:
            raise PluginError(
                f"{described} failed at step {step}: {in_one_line(error)}",
                "correct the function, or train.lr_scheduler_kwargs",
            ) from error
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise PluginError(
                f"{described} returned {value!r} at step {step}",
                "return the factor of the peak learning rate, a finite number of at least 0",
            )
        return float(value)

    return factor


def build_schedule(
    component: Component,
    optimizer: Optimizer,
    num_training_steps: int,
    num_warmup_steps: int,
    config: Mapping[str, Any],
) -> LRScheduler:
    """The schedule that a component registered.

    Args:
        num_training_steps, num_warmup_steps: of the whole run, in optimiser steps.
        config: train.lr_scheduler_kwargs.

    Raises:
        PluginError: the arguments do not fit, it fails, or it makes something else than a torch schedule.
    """
    target = component.load()
    steps = {"num_training_steps": num_training_steps, "num_warmup_steps": num_warmup_steps}
    arguments = {**{name: value for name, value in steps.items() if takes(target, name)}, **config}
    if next(iter(parameters_of(target) or ()), None) == "step":
        check_arguments("scheduler", component, target, arguments, (0,))
        return LambdaLR(optimizer, _factor(component, target, arguments))
    created = build_component("scheduler", component, arguments, optimizer)
    if not isinstance(created, LRScheduler) or isinstance(created, ReduceLROnPlateau):
        raise PluginError(
            f"{component.described('scheduler')} made a {type(created).__name__}, "
            "not a torch LRScheduler that goes by steps",
            "write (optimizer, num_training_steps, num_warmup_steps, ...) -> LRScheduler, or a function "
            "(step, num_training_steps, num_warmup_steps, ...) -> factor of the learning rate",
        )
    check_plain_state("scheduler", component, created.state_dict())
    return created


def check_schedule(config: OptimConfig, max_steps: int, evaluates: bool) -> None:
    """Build the chosen schedule and walk through it with an optimiser that has nothing to do.

    Args:
        max_steps: of the run; below 1 where it is not known yet.
        evaluates: whether the run measures held-out data while it trains.

    Raises:
        ConfigError: train.lr_scheduler_kwargs that a schedule of transformers does not take.
        PluginError: a registered schedule breaks its contract.
    """
    total = max_steps if max_steps > 0 else _REHEARSED
    warmup = int(config.warmup_steps if config.warmup_steps >= 1 else config.warmup_steps * total)
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0)
    name = config.lr_scheduler_type
    if name in schedulers:
        component = schedulers.get(name)
        schedule = build_schedule(component, optimizer, total, warmup, config.lr_scheduler_kwargs)
        try:
            _walk(optimizer, schedule, total)
        except SwiftError:
            raise
        except RAISED_BY_PLUGINS as error:
            raise PluginError(
                f"{component.described('scheduler')} failed in a rehearsal of {total} steps: "
                + in_one_line(error),
                "correct the plugin, or train.lr_scheduler_kwargs",
            ) from error
        return
    kind = SchedulerType(name)
    if kind in BY_METRIC and not evaluates:
        raise ConfigError(
            f"train.lr_scheduler_type={name} goes by the loss on held-out rows, and none is measured",
            "set train.eval_steps",
        )
    _check_transformers_arguments(config)
    try:
        schedule = get_scheduler(kind, optimizer, warmup, total, dict(config.lr_scheduler_kwargs))
        if kind not in BY_METRIC:
            _walk(optimizer, schedule, total)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise _misfit(config, str(error)) from error


def _walk(optimizer: Optimizer, schedule: LRScheduler, total: int) -> None:
    """Raises ValueError where the learning rate stops being a finite number of at least 0."""
    for step in range(min(total, _REHEARSED)):
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise ValueError(f"the learning rate is {rates[0]:g} times its peak at step {step}")
        optimizer.step()
        schedule.step()


def _check_transformers_arguments(config: OptimConfig) -> None:
    """transformers drops some arguments in silence; here each has to mean something."""
    taken = _arguments_of(SchedulerType(config.lr_scheduler_type))
    unknown = [key for key in config.lr_scheduler_kwargs if taken is not None and key not in taken]
    if unknown:
        raise _misfit(config, f"there is no argument {unknown[0]!r}")


def _arguments_of(kind: SchedulerType) -> list[str] | None:
    """The names, or None where the function passes all of them on."""
    if kind in _WITHOUT_ARGUMENTS:
        return []
    parameters = parameters_of(TYPE_TO_SCHEDULER_FUNCTION[kind]) or {}
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return None
    return [name for name in parameters if name not in _GIVEN]


def _misfit(config: OptimConfig, reason: str) -> ConfigError:
    taken = _arguments_of(SchedulerType(config.lr_scheduler_type))
    known = "see torch.optim.lr_scheduler" if taken is None else ", ".join(taken) or "none"
    return ConfigError(
        f"train.lr_scheduler_kwargs={config.lr_scheduler_kwargs} does not fit "
        f"train.lr_scheduler_type={config.lr_scheduler_type}: {reason}",
        f"its arguments: {known}",
    )
