"""A plugin's callback, whose failures end a run as those of any other part do: said in a line, and saved."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from swift.core.errors import RAISED_BY_PLUGINS, PluginError, SwiftError, in_one_line
from swift.core.registry import Component


def guard_events(component: Component, callback: TrainerCallback) -> None:
    """Let each event that the callback listens to raise nothing but SwiftError (and KeyboardInterrupt)."""
    for name in dir(TrainerCallback):
        if name.startswith("on_") and getattr(type(callback), name) is not getattr(TrainerCallback, name):
            setattr(callback, name, _guarded(component, name, getattr(callback, name)))


def _guarded(component: Component, name: str, event: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(event)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return event(*args, **kwargs)
        except SwiftError:
            raise
        except RAISED_BY_PLUGINS as error:
            raise PluginError(
                f"{component.described('callback')}: {name}() failed: {in_one_line(error)}",
                "correct the plugin; to stop a run in order, set control.should_training_stop = True",
            ) from error

    return call
