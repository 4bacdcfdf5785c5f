"""LoRA-GA (arXiv 2407.05000): LoRA whose first step goes where full fine-tuning's would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from swift.core.errors import ModelError
from swift.core.train.ranks import as_first, mean_over_ranks
from swift.core.types import Batch
from swift.tuners.lora.config import LoraGaConfig
from swift.tuners.lora.principal import refuse_quantised_layers
from swift.tuners.lora.start import fill_start, lora_layers, start_here
from swift.tuners.lora.tuner import LoraTuner
from swift.tuners.peft_tuner import peft_model, saved_weights

ROUNDS = 4  # subspace iterations of the approximate SVD


class LoraGaTuner(LoraTuner):
    """LoRA that starts at singular vectors of the gradient of the first batches."""

    config_class = LoraGaConfig

    def batches_wanted(self) -> int:
        """Batches whose mean gradient counts."""
        return int(self.config.lora_ga_batches)

    def initialize(
        self, model: nn.Module, batches: Sequence[Batch], loss: Callable[[nn.Module, Batch], torch.Tensor]
    ) -> None:
        """Start at the gradient's singular vectors; the same on every rank.

        Raises:
            ModelError: a layer is quantised, or the rank is above half its smaller dimension.
        """
        adapted = peft_model(model)
        name = adapted.active_adapters[0]
        layers = lora_layers(adapted, name)
        refuse_quantised_layers(layers, "LoRA-GA")
        weights = {place: layer.get_base_layer().weight for place, layer in layers.items()}
        gradients = mean_gradients(adapted, list(weights.values()), batches, loss)
        for (place, layer), gradient in zip(layers.items(), gradients, strict=True):
            self._start(place, layer, name, gradient)

    def restore(self, model: nn.Module, directory: Path) -> bool:
        """Put a checkpoint's weights and start back.

        Raises:
            ModelError: no adapter there, or one that does not fit (the differences are listed).
        """
        fill_start(peft_model(model), saved_weights(directory), directory, subtract=True)
        return True

    def _start(self, place: str, layer: LoraLayer, name: str, gradient: torch.Tensor) -> None:
        rank = layer.r[name]
        if 2 * rank > min(gradient.shape):
            raise ModelError(
                f"lora_rank {rank} is above half the smaller dimension of {place!r} {tuple(gradient.shape)}: "
                "LoRA-GA takes 2 r singular vectors",
                f"use lora_rank <= {min(gradient.shape) // 2}",
            )
        a, b = gradient_start(gradient, rank, self.config, layer.scaling[name])
        for part, value in (("lora_A", a), ("lora_B", b)):
            weight = getattr(layer, part)[name].weight
            weight.data.copy_(value)
            as_first(weight.data)
        start_here(layer, name)


def mean_gradients(
    model: nn.Module,
    weights: Sequence[nn.Parameter],
    batches: Sequence[Batch],
    loss: Callable[[nn.Module, Batch], torch.Tensor],
) -> list[torch.Tensor]:
    """Mean over batches and ranks of the loss's gradient at each weight, in float32.

    torch.autograd.grad leaves every other parameter's gradient alone.
    """
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        for batch in batches:
            found = torch.autograd.grad(loss(model, batch), list(weights), allow_unused=True)
            for total, gradient in zip(sums, found, strict=True):
                if gradient is not None:  # a layer that this batch did not reach
                    total += gradient.float() / len(batches)
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    for total in sums:
        mean_over_ranks(total)
    return sums


def gradient_start(
    gradient: torch.Tensor, rank: int, config: LoraGaConfig, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """A0 [r, in] and B0 [out, r]: singular vectors of the gradient [out, in], all of one size.

    stable: both times out^(1/4) / sqrt(gamma), so that outputs and updates keep their size at any width;
    gd: both divided by s; unit: as they are. (peft's own start also multiplies B0 by the singular values,
    which the paper does not.)
    """
    size = min(4 * rank, *gradient.shape)
    u, _, v = torch.svd_lowrank(gradient, q=size, niter=ROUNDS)
    picks = {
        "ArBr": (slice(1, 2 * rank, 2), slice(0, 2 * rank, 2)),
        "A2rBr": (slice(rank, 2 * rank), slice(0, rank)),
        "ArB2r": (slice(0, rank), slice(rank, 2 * rank)),
    }
    if config.lora_ga_direction == "random":
        drawn = torch.randperm(2 * rank)[:rank]
        a, b = v[:, drawn].T, u[:, drawn]
    else:
        of_a, of_b = picks[config.lora_ga_direction]
        a, b = v[:, of_a].T, u[:, of_b]
    scales = {
        "stable": gradient.shape[0] ** 0.25 / config.lora_ga_gamma**0.5,
        "gd": 1 / scaling,
        "unit": 1.0,
    }
    factor = scales[config.lora_ga_scale]
    return factor * a, factor * b
