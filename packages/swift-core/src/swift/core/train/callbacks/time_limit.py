"""Graceful exit before a wall-clock limit, such as that of a batch system."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerControl

from swift.core.console import say
from swift.core.errors import EXIT_INTERRUPTED, ConfigError
from swift.core.train.callbacks.contract import Callback
from swift.core.train.ranks import any_rank

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer


class TimeLimit(Callback):
    """Finish the step, save a checkpoint and end with status 130, as after Ctrl-C; train.resume goes on.

    The clock starts when the run starts, before the model is loaded. A step is begun only when the longest
    one so far would still end in time.

    Args:
        limit: "HH:MM:SS", "MM:SS" or seconds.
        hours, minutes: the limit in other words; they are added up.
        margin: time kept for saving, written like limit.

    Raises:
        ConfigError: no limit, one that cannot be read, or a margin that leaves nothing of it.
    """

    def __init__(
        self, limit: str | float = 0, hours: float = 0, minutes: float = 0, margin: str | float = 0
    ) -> None:
        self.seconds = to_seconds(limit) + 3600 * hours + 60 * minutes - to_seconds(margin)
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ConfigError(
                f"the callback time_limit leaves {self.seconds:g} seconds to train",
                'give it limit ("HH:MM:SS" or seconds), hours or minutes, and a smaller margin',
            )
        self._started = time.monotonic()
        self._step_began = 0.0
        self._longest = 0.0

    def attach(self, trainer: Trainer) -> None:
        """Where the stop is noted."""
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """The first step begins."""
        self._step_began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        """Stop on every rank at the same step, whichever clock is ahead."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._step_began)
        self._step_began = now
        over = any_rank(now - self._started + self._longest > self.seconds, args.device)
        if not over or state.global_step >= state.max_steps:
            return control
        passed = f"{now - self._started:.0f} s have passed"
        say(f"time limit: {passed}; saving a checkpoint at step {state.global_step}")
        self._trainer.interrupted = EXIT_INTERRUPTED
        control.should_save = True
        control.should_training_stop = True
        return control


def to_seconds(value: str | float) -> float:
    """Seconds of a number, or of "HH:MM:SS", "MM:SS" or "SS".

    Raises:
        ConfigError: not a duration.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    parts = str(value).split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or any(number < 0 for number in numbers):
        raise ConfigError(f"{value!r} is not a duration", 'write "HH:MM:SS" or a number of seconds')
    return sum(number * 60.0**power for power, number in enumerate(reversed(numbers)))
