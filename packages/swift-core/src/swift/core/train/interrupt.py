"""Ctrl-C ends a run in order: the step is finished, a checkpoint saved, and the status is 130."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl

from swift.core.console import say


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
        self.agreed = _any_rank(self.requested, args.device)
        if self.agreed is None:
            return control
        control.should_save = True
        control.should_training_stop = True
        return control


def _any_rank(requested: int | None, device: torch.device) -> int | None:
    if not (distributed.is_available() and distributed.is_initialized()):
        return requested
    flag = torch.tensor(requested or 0, device=device)
    distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
    return int(flag) or None
