"""LoRA-GA (arXiv 2407.05000): LoRA whose first step goes where full fine-tuning's would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from swift.core.train.ranks import as_first, mean_over_ranks
from swift.core.types import Batch
from swift.tuners.lora.config import LoraGaConfig
from swift.tuners.lora.start import check_exact, fill_start, lora_layers, start_here
from swift.tuners.lora.tuner import LoraTuner
from swift.tuners.peft_tuner import peft_model, saved_weights
from swift.tuners.targets import check_rank

ROUNDS = 4  # subspace iterations of the approximate SVD


class LoraGaTuner(LoraTuner):
    """LoRA that starts at singular vectors of the gradient of the first batches."""

    config_class = LoraGaConfig

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of LoRA.

        Raises:
            ModelError: a target has no exact weights, or the rank is above half its smaller dimension: 2 r
                singular vectors are taken.
        """
        config = self.config
        targets, excluded = common["target_modules"], config.exclude_modules
        check_exact(model, targets, excluded)
        ranks = {key: 2 * rank for key, rank in config.rank_pattern.items()}
        check_rank(model, targets, 2 * config.lora_rank, ranks, excluded, called="twice the lora_rank,")
        return super().peft_config(model, common)

    def batches_wanted(self) -> int:
        """Batches whose mean gradient counts."""
        return int(self.config.lora_ga_batches)

    def initialize(
        self, model: nn.Module, batches: Sequence[Batch], loss: Callable[[nn.Module, Batch], torch.Tensor]
    ) -> None:
        """Start at the gradient's singular vectors; the same on every rank.

        Raises:
            SwiftError: the loss of a batch cannot be computed.
        """
        adapted = peft_model(model)
        name = adapted.active_adapters[0]
        layers = lora_layers(adapted, name)
        weights = [layer.get_base_layer().weight for layer in layers.values()]
        for layer, gradient in zip(
            layers.values(), mean_gradients(adapted, weights, batches, loss), strict=True
        ):
            self._start(layer, name, gradient)

    def restore(self, model: nn.Module, directory: Path) -> bool:
        """Put a checkpoint's weights and start back.

        Raises:
            ModelError: no adapter there, or one that does not fit (the differences are listed).
        """
        fill_start(peft_model(model), saved_weights(directory), directory, subtract=True)
        return True

    def _start(self, layer: LoraLayer, name: str, gradient: torch.Tensor) -> None:
        a, b = gradient_start(gradient, layer.r[name], self.config, layer.scaling[name])
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
    trained = [weight.requires_grad for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        for batch in batches:
            found = torch.autograd.grad(loss(model, batch), list(weights), allow_unused=True)
            for total, gradient in zip(sums, found, strict=True):
                if gradient is not None:  # a layer that this batch did not reach
                    total += gradient.float() / len(batches)
    finally:
        for weight, before in zip(weights, trained, strict=True):
            weight.requires_grad_(before)
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
