"""What a tuner does beyond choosing parameters. A plugin's tuner need not know any of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swift.core.protocols import Tuner

if TYPE_CHECKING:
    from transformers import TrainerCallback


def tuner_callbacks(tuner: Tuner | None) -> Sequence[TrainerCallback]:
    """What a tuner wants to do while training goes on."""
    act = getattr(tuner, "callbacks", None)
    return act() if act is not None else ()
