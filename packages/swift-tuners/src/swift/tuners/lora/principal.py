"""PiSSA (arXiv 2404.02948) and OLoRA (arXiv 2406.01775): LoRA that starts at a part of the weights."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, cast

import peft
from peft.tuners.lora import LoraLayer
from torch import nn

from swift.tuners.lora.config import OloraConfig, PissaConfig
from swift.tuners.lora.start import base_kept, check_exact, fill_start, lora_layers, start_here
from swift.tuners.lora.tuner import LoraTuner
from swift.tuners.peft_tuner import DEFAULT, peft_model, saved_weights


class StartTuner(LoraTuner):
    """LoRA that starts at a part of each weight."""

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of LoRA.

        Raises:
            ModelError: a target has no exact weights to start from, or the rank is too large.
        """
        check_exact(model, common["target_modules"], self.config.exclude_modules)
        return super().peft_config(model, common)

    @abstractmethod
    def start(self, layer: LoraLayer, name: str) -> None:
        """Set A and B of a layer; peft may change the base weight, which is put back."""

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT) -> nn.Module:
        """Freeze the model and add adapters that start at a part of its weights.

        Raises:
            ModelError: a target matches nothing, is quantised or no linear layer, or the rank is too large.
        """
        adapted = peft_model(super().apply(model, adapter_name))
        for layer in lora_layers(adapted, adapter_name).values():
            with base_kept(layer):
                self.start(layer, adapter_name)
            start_here(layer, adapter_name)
        return cast(nn.Module, adapted)

    def restore(self, model: nn.Module, directory: Path) -> bool:
        """Put a checkpoint's weights and start back.

        Raises:
            ModelError: no adapter there, or one that does not fit (the differences are listed).
        """
        fill_start(peft_model(model), saved_weights(directory), directory, subtract=True)
        return True


class PissaTuner(StartTuner):
    """B0 A0 = the r largest singular values of W and their vectors."""

    config_class = PissaConfig

    def start(self, layer: LoraLayer, name: str) -> None:
        """W = U S V; B0 = U_r sqrt(S_r / s), A0 = sqrt(S_r / s) V_r."""
        rounds = self.config.pissa_niter
        layer.pissa_init(name, "pissa" if rounds is None else f"pissa_niter_{rounds}")


class OloraTuner(StartTuner):
    """B0 A0 = the first r columns and rows of the QR decomposition of W."""

    config_class = OloraConfig

    def start(self, layer: LoraLayer, name: str) -> None:
        """W = Q R; B0 = Q_r, A0 = R_r."""
        layer.olora_init(name)
