"""FourierFT through peft: the change of a weight has few trained frequencies (arXiv 2405.03003)."""

from __future__ import annotations

from typing import Any

import peft
from torch import nn

from swift.core.errors import ModelError
from swift.tuners.fourierft.config import FourierftConfig
from swift.tuners.peft_tuner import PeftTuner
from swift.tuners.targets import chosen_layers, sides


class FourierftTuner(PeftTuner):
    """Sparse spectra beside frozen weights."""

    config_class = FourierftConfig

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of FourierFT.

        Raises:
            ModelError: a layer has fewer weights than there are to be frequencies.
        """
        config = self.config
        for name, module in chosen_layers(model, common["target_modules"]):
            shape = sides(module)
            if shape is not None and config.n_frequency > shape[0] * shape[1]:
                raise ModelError(
                    f"n_frequency {config.n_frequency} exceeds the weights of {name!r}, "
                    f"{shape[0]} x {shape[1]}",
                    f"set train.n_frequency={shape[0] * shape[1]} or less",
                )
        return peft.FourierFTConfig(
            **common,
            n_frequency=config.n_frequency,
            scaling=config.fourier_scaling,
            random_loc_seed=config.random_loc_seed,
            init_weights=config.fourier_init == "zeros",
        )
