"""LoRA through peft: W + scale * B A, where W is frozen and A, B train (arXiv 2106.09685)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
from torch import nn

from swift.tuners.lora.config import DoraConfig, LoraConfig, LoraPlusConfig, QloraConfig, RsloraConfig
from swift.tuners.lora.experts import check_parameters, tell_of_experts
from swift.tuners.lora.fused import kernels_installed, use_fused
from swift.tuners.lora.groups import loraplus_groups
from swift.tuners.lora.quantization import bitsandbytes_config, keep_exact_on_cpu
from swift.tuners.peft_tuner import DEFAULT, PeftTuner
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

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT) -> nn.Module:
        """Freeze the model and add adapters.

        Raises:
            ModelError: a target matches nothing or cannot be adapted, or the rank is too large.
        """
        adapted = super().apply(model, adapter_name)
        keep_exact_on_cpu(adapted)
        return adapted

    def load(
        self, model: nn.Module, directory: Path, *, trainable: bool = False, adapter_name: str = DEFAULT
    ) -> nn.Module:
        """Put a saved adapter on its base, which is left as it was if the adapter does not fit.

        Raises:
            ModelError: no adapter there, or one of another base (the differences are listed).
        """
        loaded = super().load(model, directory, trainable=trainable, adapter_name=adapter_name)
        if trainable:
            keep_exact_on_cpu(loaded)
        return loaded

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of LoRA.

        Raises:
            ModelError: the rank is too large for a layer, a target matches nothing, or fused_lora is set
                and swift-kernels is not installed.
        """
        config = self.config
        excluded = config.exclude_modules
        check_rank(model, common["target_modules"], config.lora_rank, config.rank_pattern, excluded)
        check_parameters(model, config.target_parameters)
        if not config.target_parameters:
            tell_of_experts(model, config.target_modules)
        settings = peft.LoraConfig(
            **common,
            **lora_arguments(config),
            r=config.lora_rank,
            target_parameters=config.target_parameters or None,
            use_rslora=config.use_rslora,
            use_dora=config.use_dora,
            init_lora_weights=config.init_lora_weights,
            rank_pattern=config.rank_pattern,
            alpha_pattern=config.alpha_pattern,
            lora_bias=config.lora_bias,
        )
        if kernels_installed() if config.fused_lora is None else config.fused_lora:
            use_fused(settings, model)
        return settings

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, weight_decay: float
    ) -> list[dict[str, Any]] | None:
        """B learns faster than A, where loraplus_lr_ratio says so."""
        config = self.config
        if config.loraplus_lr_ratio is None:
            return None
        rates = (learning_rate, config.loraplus_lr_ratio * learning_rate, config.loraplus_lr_embedding)
        return loraplus_groups(model, *rates, weight_decay)


class RsloraTuner(LoraTuner):
    """LoRA scaled by lora_alpha / sqrt(lora_rank)."""

    config_class = RsloraConfig


class LoraPlusTuner(LoraTuner):
    """LoRA whose B learns at a rate of its own."""

    config_class = LoraPlusConfig


class DoraTuner(LoraTuner):
    """LoRA with a magnitude per output."""

    config_class = DoraConfig


class QloraTuner(LoraTuner):
    """LoRA beside quantised weights."""

    config_class = QloraConfig


def lora_arguments(config: Any) -> dict[str, Any]:
    """What every method of peft that grew out of LoRA takes."""
    return {
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "exclude_modules": config.exclude_modules or None,
        "layers_to_transform": config.layers_to_transform,
    }
