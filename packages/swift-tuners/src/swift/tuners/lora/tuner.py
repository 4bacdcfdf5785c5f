"""LoRA through peft: W + scale * B A, where W is frozen and A, B train (arXiv 2106.09685)."""

from __future__ import annotations

from typing import Any

import peft
from torch import nn

from swift.tuners.lora.config import LoraConfig, QloraConfig
from swift.tuners.lora.quantization import bitsandbytes_config
from swift.tuners.peft_tuner import PeftTuner
from swift.tuners.targets import check_rank


class LoraTuner(PeftTuner):
    """Low-rank updates beside frozen weights; a QloraConfig also asks for quantised loading of the base."""

    config_class = LoraConfig

    def load_options(self) -> dict[str, Any]:
        """The quantisation of the base, for QLoRA.

        Raises:
            ModelError: bitsandbytes is not installed.
        """
        if isinstance(self.config, QloraConfig):
            return {"quantization_config": bitsandbytes_config(self.config.quantization_bit)}
        return {}

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of LoRA.

        Raises:
            ModelError: the rank is too large for a layer.
        """
        config = self.config
        check_rank(model, common["target_modules"], config.lora_rank)
        return peft.LoraConfig(
            **common,
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            init_lora_weights=config.init_lora_weights,
            use_rslora=config.use_rslora,
        )
