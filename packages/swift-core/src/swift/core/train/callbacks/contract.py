"""What a callback can be beyond a transformers.TrainerCallback."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer


class Callback(TrainerCallback):  # type: ignore[misc]
    """A callback that knows its trainer; each method may be left out.

    `@register_callback("NAME")` takes any transformers.TrainerCallback; one that needs more than the events
    derives from this class. It is built with the arguments that YAML gives it, before anything is loaded, so
    that a constructor refuses bad arguments early.

    Attributes:
        shows_other_weights: whether presenting() changes the weights, so that OUT/final cannot be made out of
            the files of a checkpoint.
    """

    shows_other_weights: bool = False

    def attach(self, trainer: Trainer) -> None:
        """Called once, when the trainer is complete and before it trains.

        Raises:
            ConfigError: this callback and the run do not go together.
        """

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain values, the same on every rank."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from state_dict(); called before the first event of a resumed run."""

    def presenting(self) -> AbstractContextManager[None]:
        """Surrounds evaluation and the writing of OUT/final."""
        return nullcontext()

    def forwarding(self) -> AbstractContextManager[None]:
        """Surrounds the forward pass and the loss of each micro-batch."""
        return nullcontext()
