"""AdaLoRA through peft: W + s B diag(E) A, where unimportant triplets are dropped (arXiv 2303.10512)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import peft
import torch
from peft.tuners.adalora import AdaLoraModel, RankAllocator
from torch import nn
from transformers import TrainerCallback

from swift.tuners.adalora.allocation import UNKNOWN_STEPS, RankAllocation
from swift.tuners.adalora.config import AdaloraConfig
from swift.tuners.lora.tuner import lora_arguments
from swift.tuners.peft_tuner import DEFAULT, PeftTuner, peft_model
from swift.tuners.targets import check_rank


class AdaloraTuner(PeftTuner):
    """LoRA whose ranks move to the layers that need them."""

    config_class = AdaloraConfig

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of AdaLoRA; the run's steps are filled in when it begins.

        Raises:
            ModelError: init_r is too large for a layer.
        """
        config = self.config
        check_rank(
            model, common["target_modules"], config.init_r, excluded=config.exclude_modules, called="init_r"
        )
        return peft.AdaLoraConfig(
            **common,
            **lora_arguments(config),
            init_r=config.init_r,
            target_r=config.target_r,
            total_step=config.total_step or UNKNOWN_STEPS,
            deltaT=config.deltaT,
            beta1=config.adalora_beta1,
            beta2=config.adalora_beta2,
            orth_reg_weight=config.orth_reg_weight,
        )

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT) -> nn.Module:
        """Freeze the model and add adapters; of several, the newest one trains.

        Raises:
            ModelError: a target matches nothing or cannot be adapted, or init_r is too large.
        """
        if isinstance(model, peft.PeftModel):
            for config in model.peft_config.values():
                config.inference_mode = True  # peft trains one at a time
        adapted = peft_model(super().apply(model, adapter_name))
        inner = adalora_model(adapted)
        if inner.trainable_adapter_name != adapter_name:
            inner.trainable_adapter_name = adapter_name
            inner.rankallocator = RankAllocator(inner.model, adapted.peft_config[adapter_name], adapter_name)
        return cast(nn.Module, adapted)

    def save(self, model: nn.Module, directory: Path) -> None:
        """Write the adapter in peft's format, with the dropped triplets as zeros: it can go on training.

        Raises:
            ModelError: the model carries no adapter.
        """
        with _whole(peft_model(model)):
            super().save(model, directory)

    def restore(self, model: nn.Module, directory: Path) -> bool:
        """Put a checkpoint's weights back; its ranks are the callback's to restore.

        Raises:
            ModelError: no adapter there, or one that does not fit (the differences are listed).
        """
        with _whole(peft_model(model)):
            return super().restore(model, directory)

    def penalty(self, model: nn.Module) -> torch.Tensor | None:
        """orth_reg_weight * mean over all A and B of |A A' - I| and |B' B - I| (Frobenius norms)."""
        config = peft_model(model).active_peft_config
        if config.orth_reg_weight == 0:
            return None
        name = peft_model(model).active_adapters[0]
        norms = [
            torch.linalg.matrix_norm(_gram(key, value) - torch.eye(min(value.shape), device=value.device))
            for key, value in model.named_parameters()
            if key.endswith((f"lora_A.{name}", f"lora_B.{name}")) and value.requires_grad
        ]
        return config.orth_reg_weight * torch.stack(norms).mean() if norms else None

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Drops triplets after each step."""
        return (RankAllocation(self.config),)


def adalora_model(adapted: peft.PeftModel) -> AdaLoraModel:
    """peft's part that drops triplets."""
    return adapted.base_model


def _gram(name: str, value: torch.Tensor) -> torch.Tensor:
    return value @ value.T if ".lora_A." in name else value.T @ value


@contextmanager
def _whole(adapted: peft.PeftModel) -> Iterator[None]:
    """Without its pattern of ranks, by which peft would cut what it saves or loads."""
    config = adapted.active_peft_config
    pattern, config.rank_pattern = config.rank_pattern, None
    try:
        yield
    finally:
        config.rank_pattern = pattern
