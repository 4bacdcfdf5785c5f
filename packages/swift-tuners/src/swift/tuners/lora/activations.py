"""EVA (arXiv 2410.07170): LoRA whose A starts at the principal directions of the layers' inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora.eva import get_eva_state_dict
from torch import nn

from swift.core.errors import ModelError
from swift.core.train.ranks import from_first
from swift.core.types import IGNORE_INDEX, Batch
from swift.tuners.lora.config import EvaConfig
from swift.tuners.lora.tuner import LoraTuner
from swift.tuners.peft_tuner import fill, peft_model, saved_config, saved_weights

PREFIX = "base_model.model."


class EvaTuner(LoraTuner):
    """A = the inputs' first right singular vectors; layers that vary more get more rank; B = 0."""

    config_class = EvaConfig

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of LoRA, with peft's own start for this method."""
        config = super().peft_config(model, common)
        config.init_lora_weights = "eva"
        config.eva_config = peft.EvaConfig(rho=self.config.eva_rho, tau=self.config.eva_tau)
        return config

    def batches_wanted(self) -> int:
        """Batches whose activations count."""
        return int(self.config.eva_batches)

    def initialize(
        self, model: nn.Module, batches: Sequence[Batch], loss: Callable[[nn.Module, Batch], torch.Tensor]
    ) -> None:
        """Choose A and the ranks by the inputs of the layers, as rank 0 sees them.

        Raises:
            ModelError: no batch has as many learned tokens as there are directions to find.
        """
        adapted = peft_model(model)
        name = adapted.active_adapters[0]
        most = int(self.config.lora_rank * self.config.eva_rho)
        large = [batch for batch in batches if _tokens(batch) >= most]
        if not large:
            raise ModelError(
                f"no batch has {most} learned tokens, as many as the directions that EVA looks for",
                "use a lower lora_rank or eva_rho, or a larger per_device_train_batch_size",
            )
        directions = get_eva_state_dict(
            adapted,
            large,
            forward_fn=lambda part, batch: loss(part, batch),
            prepare_model_inputs_fn=lambda batch, _: batch,
            prepare_layer_inputs_fn=_learned_inputs,
            adapter_name=name,
            gather_distributed_inputs=False,
            show_progress_bar=False,
        )
        directions = from_first(directions)
        without = [layer.replace(PREFIX, "") for layer, value in directions.items() if not len(value)]
        peft.initialize_lora_eva_weights(adapted, eva_state_dict=directions, adapter_name=name)
        _leave_out(adapted.peft_config[name], without)
        for value in adapted.parameters():
            if value.requires_grad and value.dtype in (torch.bfloat16, torch.float16):
                value.data = value.data.float()  # where the rank changed, peft made them like the base

    def restore(self, model: nn.Module, directory: Path) -> bool:
        """Take over a checkpoint's ranks and weights.

        Raises:
            ModelError: no adapter there, or one that does not fit (the differences are listed).
        """
        adapted = peft_model(model)
        name = adapted.active_adapters[0]
        config = saved_config(directory)
        config.inference_mode = False
        adapted.delete_adapter(name)
        adapted.add_adapter(name, config)
        adapted.set_adapter(name)
        fill(adapted, saved_weights(directory), directory)
        return True


def _leave_out(config: Any, layers: Sequence[str]) -> None:
    """Targets that got rank 0: peft takes their adapters off, and may still count them as targets."""
    if layers:
        config.exclude_modules = [*(config.exclude_modules or []), *layers]


def _tokens(batch: Batch) -> int:
    return int(_learned(batch).sum())


def _learned(batch: Batch) -> torch.Tensor:
    """Where a batch has learned tokens, or any tokens if it has no labels [B, T]."""
    read = batch.get("attention_mask")
    mask = torch.ones_like(batch["input_ids"]) if read is None or read.ndim != 2 else read
    labels = batch.get("labels")
    if labels is not None and labels.shape == mask.shape:
        mask = mask.bool() & (labels != IGNORE_INDEX)
    return mask.bool()


def _learned_inputs(inputs: Any, batch: Batch, _: str) -> torch.Tensor:
    """A layer's inputs at the learned tokens [N, D]; all of them where they are laid out otherwise."""
    states: torch.Tensor = inputs[0] if isinstance(inputs, tuple | list) else inputs
    mask = _learned(batch)
    if states.shape[:-1] == mask.shape:
        return states[mask]
    return states.reshape(-1, states.shape[-1])
