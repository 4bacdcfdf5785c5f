"""Ctrl-C ends a run in order: the step is finished, a checkpoint saved, and the status is 130."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl

from swift.core.console import say
from swift.core.train.ranks import largest


class Interrupt(TrainerCallback):  # type: ignore[misc]
    """Turns SIGINT and SIGTERM into "save and stop" at the end of the step; a second one stops at once."""

    def __init__(self) -> None:
        self.requested: int | None = None
        self.agreed: int | None = None

    @property
    def exit_code(self) -> int | None:
        """128 + signal number after a stop by signal, as a shell reports it; the same on every rank."""
        return None if self.agreed is None else 128 + self.agreed

    @contextmanager
    def listening(self) -> Iterator[Interrupt]:
        """Handle the signals inside this block, and give the old handlers back after it."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None:
            raise KeyboardInterrupt
        self.requested = number
        say("interrupted: finishing this step and saving a checkpoint (once more: stop at once)")

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        """Stop on every rank at the same step, whichever rank heard the signal first."""
        self.agreed = largest(self.requested or 0, args.device) or None
        if self.agreed is None:
            return control
        control.should_save = True
        control.should_training_stop = True
        return control
