"""All callbacks of a run: built from YAML, attached, saved and restored, entered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from swift.core.config.named import Named
from swift.core.config.run import RunConfig
from swift.core.console import say
from swift.core.errors import ConfigError, PluginError
from swift.core.registry import Component, callbacks
from swift.core.train.callbacks.contract import Callback
from swift.core.train.callbacks.guarded import guard_events
from swift.plugin.parts import build_component

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer

STATE_FILE = "callbacks.pt"


def build_callbacks(named: Sequence[Named]) -> list[TrainerCallback]:
    """The callbacks of train.callbacks, in their order.

    Raises:
        ConfigError: one is named twice, or does not take its arguments' values.
        RegistryError: a name is unknown.
        PluginError: one cannot be built, or is no TrainerCallback.
    """
    names = [item.name for item in named]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"train.callbacks names {name!r} twice", "name it once")
    return [build_callback(callbacks.get(item.name), item.config) for item in named]


def benchmark_callbacks(run: RunConfig) -> list[TrainerCallback]:
    """What measures eval.benchmarks, eval.qa and eval.mcq while the run trains; none where nothing is named.

    Raises:
        RegistryError: the package that measures is not installed.
    """
    config = run.benchmark
    if not (config.benchmarks or config.qa or config.mcq):
        return []
    settings = config.model_dump(exclude_unset=True)
    return [build_callback(callbacks.get("benchmark"), {"hub": run.model.hub, **settings})]


def build_callback(component: Component, config: Mapping[str, Any]) -> TrainerCallback:
    """One callback with its arguments.

    Raises:
        PluginError: it cannot be built, or is no TrainerCallback.
    """
    built = build_component("callback", component, config)
    if not isinstance(built, TrainerCallback):
        raise PluginError(
            f"{component.described('callback')} made an object of "
            f"type {type(built).__name__}, not a transformers.TrainerCallback",
            "derive it from that class, or from swift.core.train.callbacks.contract.Callback",
        )
    if component.place:
        guard_events(component, built)
    return built


def own(everything: Iterable[TrainerCallback]) -> list[Callback]:
    """Those that know the trainer."""
    return [callback for callback in everything if isinstance(callback, Callback)]


def save_states(mine: Sequence[Callback], folder: Path) -> None:
    """Write what they keep, where one keeps anything."""
    states = {_key(callback): state for callback in mine if (state := callback.state_dict())}
    if states:
        torch.save(states, folder / STATE_FILE)


def load_states(mine: Sequence[Callback], folder: Path) -> None:
    """Hand each its state; says which one starts afresh."""
    path = folder / STATE_FILE
    states: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu") if path.exists() else {}
    for callback in mine:
        if _key(callback) in states:
            callback.load_state_dict(states.pop(_key(callback)))
        elif type(callback).state_dict is not Callback.state_dict:
            say(f"{folder.name} knows nothing of the callback {_key(callback)}: it starts afresh")
    if states:
        say(f"{folder.name} has state of callbacks that this run does not have: {', '.join(sorted(states))}")


def _key(callback: Callback) -> str:
    return type(callback).__qualname__


@contextmanager
def presenting(mine: Sequence[Callback]) -> Iterator[None]:
    """Inside all of their presenting()."""
    with ExitStack() as stack:
        for callback in mine:
            stack.enter_context(callback.presenting())
        yield


def attach(mine: Sequence[Callback], trainer: Trainer) -> None:
    """Introduce the trainer to each."""
    for callback in mine:
        callback.attach(trainer)
