"""Optimiser, schedule and callbacks of a run whose plugin may change: what a hot reload puts in their place.

Losses, rewards and metrics are held in slots, which try a successor at its first call. These three cannot be
tried so (half an update cannot be taken back), so the successor is rehearsed on a small module first.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, cast

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import TrainerCallback

from swift.core.config.named import Named
from swift.core.config.schema import OptimConfig
from swift.core.errors import PluginError
from swift.core.registry import Component, callbacks, optimizers, schedulers
from swift.core.train.callbacks.contract import Callback
from swift.core.train.callbacks.together import build_callback
from swift.core.train.optimizer import build_optimizer
from swift.core.train.schedule import build_schedule
from swift.core.train.trainer import Trainer
from swift.plugin.contract.check import check_component
from swift.plugin.live import LiveParts
from swift.plugin.slot import carry_state


class LiveOptimizer:
    """The optimiser; its successor takes over the moments, where it can, and the present learning rate."""

    registry = optimizers

    def __init__(self, trainer: Trainer, config: OptimConfig, learning_rate: float) -> None:
        self.trainer = trainer
        self.config = config
        self.learning_rate = learning_rate
        self.component = optimizers.get(config.optim)

    def rebuild(self, component: Component) -> Optimizer:
        """An optimiser of the newer version, over the same parameters."""
        rehearse("optimizer", component, self.config.optim_config)
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        new = build_optimizer(component, model, self.config, self.learning_rate)
        old = self._inner()
        for group, former in zip(new.param_groups, old.param_groups, strict=False):
            group.update({key: former[key] for key in ("lr", "initial_lr") if key in former})
        carry_state(component, _Moments(old), _Moments(new))
        return new

    def swap(self, component: Component, part: Optimizer) -> None:
        """Put it into accelerate's wrapper, where trainer and schedule find it."""
        self.component = component
        self.trainer.optimizer.optimizer = part
        inner_schedule(self.trainer).optimizer = part

    def _inner(self) -> Optimizer:
        return cast("Optimizer", self.trainer.optimizer.optimizer)


class _Moments:
    """An optimiser's state without its settings: a successor brings its own."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        own = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({**state, "param_groups": own})


class LiveSchedule:
    """The learning-rate schedule; its successor goes on at the same step."""

    registry = schedulers

    def __init__(self, trainer: Trainer, config: OptimConfig) -> None:
        self.trainer = trainer
        self.config = config
        self.component = schedulers.get(config.lr_scheduler_type)

    def rebuild(self, component: Component) -> Component:
        """The newer version itself, rehearsed: a schedule that is made changes its optimiser."""
        rehearse("scheduler", component, self.config.lr_scheduler_kwargs)
        return component

    def swap(self, component: Component, part: Component) -> None:
        """Build it on the optimiser in use and bring it to the present step."""
        self.component = component
        optimizer = self.trainer.optimizer.optimizer
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        total = self.trainer.state.max_steps
        warmup = self.trainer.args.get_warmup_steps(total)
        schedule = build_schedule(part, optimizer, total, warmup, self.config.lr_scheduler_kwargs)
        with warnings.catch_warnings():  # of stepping without the optimiser, which has done so long ago
            warnings.simplefilter("ignore", UserWarning)
            for _ in range(self.trainer.state.global_step):
                schedule.step()
        wrapper = self.trainer.lr_scheduler
        if hasattr(wrapper, "scheduler"):
            wrapper.scheduler = schedule
        else:
            self.trainer.lr_scheduler = schedule


def inner_schedule(trainer: Trainer) -> LRScheduler:
    """The schedule inside accelerate's wrapper, if it is wrapped."""
    return cast("LRScheduler", getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler))


class LiveCallback:
    """A callback; its successor stands at the same place among the others."""

    registry = callbacks

    def __init__(self, trainer: Trainer, named: Named, callback: TrainerCallback) -> None:
        self.trainer = trainer
        self.named = named
        self.callback = callback
        self.component = callbacks.get(named.name)

    def rebuild(self, component: Component) -> TrainerCallback:
        """A callback of the newer version, with the state of the one in use."""
        new = build_callback(component, self.named.config)
        carry_state(component, self.callback, new)
        return new

    def swap(self, component: Component, part: TrainerCallback) -> None:
        """Put it where the older one was, and introduce the trainer."""
        handler = self.trainer.callback_handler
        handler.callbacks[handler.callbacks.index(self.callback)] = part
        if isinstance(part, Callback):
            part.attach(self.trainer)
        self.component, self.callback = component, part


def rehearse(kind: str, component: Component, config: Mapping[str, Any]) -> None:
    """Run a part on small synthetic values.

    Raises:
        PluginError: the first check that it fails.
    """
    for check in check_component(kind, component, config):
        if check.status == "failed":
            raise PluginError(f"{component.described(kind)}, {check.name}: {check.detail}")


def watch(
    live: LiveParts,
    trainer: Trainer,
    config: OptimConfig,
    learning_rate: float,
    named: list[Named],
    built: list[TrainerCallback],
) -> None:
    """Let hot reloads find the optimiser, schedule and callbacks of a trainer.

    Args:
        named, built: train.callbacks, and what was built of them.
    """
    if config.optim in optimizers:
        live.in_use.append(LiveOptimizer(trainer, config, learning_rate))
    if config.lr_scheduler_type in schedulers:
        live.in_use.append(LiveSchedule(trainer, config))
    for item, callback in zip(named, built, strict=True):
        live.in_use.append(LiveCallback(trainer, item, callback))
