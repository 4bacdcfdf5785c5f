"""VeRA through peft: W + diag(b) B diag(d) A with trained vectors b, d (arXiv 2310.11454).

A and B have the largest width of all adapted layers; smaller layers use their first rows and columns.
"""

from __future__ import annotations

from typing import Any

import peft
from torch import nn

from swift.tuners.peft_tuner import PeftTuner
from swift.tuners.vera.config import VeraConfig


class VeraTuner(PeftTuner):
    """Vectors beside frozen weights."""

    config_class = VeraConfig

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of VeRA."""
        config = self.config
        return peft.VeraConfig(
            **common,
            r=config.vera_rank,
            vera_dropout=config.vera_dropout,
            d_initial=config.d_initial,
            projection_prng_key=config.projection_prng_key,
            save_projection=config.save_projection,
        )
