"""Optimisers that measure and keep other weights than those they train (schedule-free ones: an average).

Such an optimiser has two methods more: eval() puts the weights to be measured and kept into the model,
train() puts back those that train, bit for bit. Its state_dict() under eval() holds what train() needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import transformers
from torch import nn


class AveragedTrainer(transformers.Trainer):  # type: ignore[misc]
    """transformers.Trainer that saves under the optimiser's eval(), and trains on under its train()."""

    _averaged = False

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The weights that the optimiser wants measured; may be entered again inside itself."""
        if self._averaged:
            yield
            return
        self.show_averaged()
        try:
            yield
        finally:
            self._averaged = False
            self._tell_optimizer("train")

    def show_averaged(self) -> None:
        """Put those weights into the model for good: training is over."""
        if not self._averaged:
            self._tell_optimizer("eval")
            self._averaged = True

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """Save the weights to be kept."""
        with self.averaged():
            super().save_model(*args, **kwargs)

    def _save_checkpoint(self, model: nn.Module, trial: Any = None) -> None:
        with self.averaged():
            super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._tell_optimizer("train")  # before anything, a roll-out too, uses the weights

    def _tell_optimizer(self, mode: str) -> None:
        switch = getattr(self.optimizer, mode, None)
        if callable(switch):
            switch()
