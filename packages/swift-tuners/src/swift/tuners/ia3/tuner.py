"""(IA)^3 through peft: vectors that scale activations (arXiv 2205.05638)."""

from __future__ import annotations

from typing import Any

import peft
from torch import nn

from swift.core.errors import ModelError
from swift.tuners.ia3.config import Ia3Config
from swift.tuners.ia3.find import feedforward_outputs, keys_and_values
from swift.tuners.peft_tuner import PeftTuner


class Ia3Tuner(PeftTuner):
    """Scales of frozen layers' outputs (keys, values) and inputs (feed-forward)."""

    config_class = Ia3Config

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of (IA)^3.

        Raises:
            ModelError: feedforward_modules are no part of target_modules, or nothing is found to scale.
        """
        named = self.config.feedforward_modules
        targets = common["target_modules"]
        if not targets:
            outer, inner = keys_and_values(model), feedforward_outputs(model)
            targets = [*outer, *inner]
        else:
            found = {name.rpartition(".")[2] for name in feedforward_outputs(model)}
            inner = named or [target for target in targets if target.rpartition(".")[2] in found]
        strange = [name for name in inner if name not in targets]
        if strange:
            raise ModelError(
                f"feedforward_modules: {strange[0]!r} is not among target_modules",
                f"target_modules are: {', '.join(targets)}",
            )
        return peft.IA3Config(**{**common, "target_modules": targets}, feedforward_modules=inner)
