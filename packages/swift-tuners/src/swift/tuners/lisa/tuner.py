"""LISA: full training with gradients and optimiser state of a few layers at a time (arXiv 2403.17919)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swift.core.train.callbacks.lisa import LISA
from swift.tuners.full.tuner import FullTuner
from swift.tuners.lisa.config import LisaConfig

if TYPE_CHECKING:
    from transformers import TrainerCallback


class LisaTuner(FullTuner):
    """Full fine-tuning with the callback lisa, which draws the layers and frees the state of those that left.

    Outside of the trainer it is full fine-tuning: who writes the loop calls the callback, or draws.
    """

    def __init__(self, config: LisaConfig | None = None) -> None:
        super().__init__()
        self.settings = config or LisaConfig()

    def callbacks(self) -> Sequence[TrainerCallback]:
        """What draws the layers, from seed and step alone, so that a resumed run goes on with its draw."""
        return [LISA(self.settings.lisa_activated_layers, self.settings.lisa_step_interval)]
