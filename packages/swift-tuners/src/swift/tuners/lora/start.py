"""LoRA that starts elsewhere than at zero: y = W x + s (B A - B0 A0) x, with A0, B0 what A and B start from.

PiSSA, OLoRA and LoRA-GA take A0, B0 out of the weights or their gradient and are published as W - s B0 A0
beside a trained s B A. Written as above they compute the same, but W stays the base's own: several adapters
stand side by side, merging is adding, and what is saved is a plain LoRA of twice the rank, [A; A0] and
[B, -B0], which peft and vLLM put on the original base. It holds all that resuming needs.

Where W itself was changed (LoftQ quantises it), y = Q x + s B A x, and the saved form is that for W.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from swift.core.errors import ModelError
from swift.tuners.dequantize import is_quantised_layer
from swift.tuners.mismatch import refuse_mismatch, shapes
from swift.tuners.targets import chosen_layers

PARTS = {"lora_A": 0, "lora_B": 1}  # dimension along which the rank runs
START = "start"


class Extended(nn.Module):
    """A weight with fixed rows or columns behind it; only the weight itself trains."""

    start: torch.Tensor

    def __init__(self, start: torch.Tensor, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer(START, start, persistent=False)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """[A; A0] or [B, -B0]."""
        return torch.cat([weight, self.start.to(weight.dtype)], dim=self.dim)


def start_here(layer: LoraLayer, name: str, *, subtract: bool = True) -> None:
    """Take the present A and B as A0 and B0.

    Args:
        subtract: whether B0 A0 is taken off in the forward pass; False where the base was changed instead.
    """
    for part, dim in PARTS.items():
        linear = getattr(layer, part)[name]
        present = linear.weight.detach().clone()
        _set_start(linear, present if part == "lora_A" else -present, dim, subtract)


def _set_start(linear: nn.Module, start: torch.Tensor, dim: int, subtract: bool) -> None:
    if subtract:
        parametrize.register_parametrization(linear, "weight", Extended(start, dim), unsafe=True)
    else:
        linear.register_buffer(START, start, persistent=False)


def check_exact(model: nn.Module, targets: Sequence[str], excluded: Sequence[str]) -> None:
    """A start is computed from the exact weights of linear layers.

    Raises:
        ModelError: a target is quantised, or no linear layer.
    """
    out = {name for name, _ in chosen_layers(model, excluded)}
    for name, module in chosen_layers(model, targets):
        if name not in out and not isinstance(module, nn.Linear | Conv1D):
            raise ModelError(
                f"{name!r} is of type {type(module).__name__}, and only linear layers have a start",
                "leave it out of target_modules",
            )
        if name not in out and is_quantised_layer(module):
            raise ModelError(
                f"{name!r} is quantised, and the start is computed from exact weights",
                "load the base without quantisation; loftq quantises it itself",
            )


def lora_layers(adapted: peft.PeftModel, name: str) -> dict[str, LoraLayer]:
    """Name -> linear layer with this adapter."""
    return {
        place: module
        for place, module in adapted.named_modules()
        if isinstance(module, LoraLayer) and name in module.lora_A
    }


def name_in_base(place: str) -> str:
    """The name of a layer without peft's wrapper."""
    return place.removeprefix("base_model.model.")


def has_start(adapted: peft.PeftModel) -> bool:
    """Whether the adapter in use starts elsewhere than at zero."""
    return bool(_starts(adapted, adapted.active_adapters[0]))


@contextmanager
def base_kept(layer: LoraLayer) -> Iterator[None]:
    """peft takes a start off the base weight; here it stays as it is."""
    weight = layer.get_base_layer().weight
    before = weight.detach().clone()
    try:
        yield
    finally:
        weight.data = before


def saved_form(adapted: peft.PeftModel) -> tuple[peft.LoraConfig, dict[str, torch.Tensor]]:
    """Configuration and state of a plain LoRA of twice the rank that does the same to the original base."""
    name = adapted.active_adapters[0]
    state = dict(adapted.state_dict())
    for place, (weight, start, dim) in _starts(adapted, name).items():
        state.pop(f"{place}.parametrizations.weight.original", None)
        state[f"{place}.weight"] = torch.cat([weight, start.to(weight.dtype)], dim=dim).contiguous()
    return doubled(adapted.peft_config[name]), state


def doubled(config: peft.LoraConfig) -> peft.LoraConfig:
    """The same scale s at twice the rank; the start is part of the weights, so no other is named."""
    factor = math.sqrt(2) if config.use_rslora else 2
    twice = copy.copy(config)
    twice.r = 2 * config.r
    twice.lora_alpha = factor * config.lora_alpha
    twice.rank_pattern = {key: 2 * rank for key, rank in config.rank_pattern.items()}
    twice.alpha_pattern = {key: factor * alpha for key, alpha in config.alpha_pattern.items()}
    twice.init_lora_weights = True
    return twice


def fill_start(
    adapted: peft.PeftModel, weights: Mapping[str, torch.Tensor], directory: Path, *, subtract: bool
) -> None:
    """Put the saved form back: A, B and what they started from.

    Raises:
        ModelError: it does not fit (the differences are listed).
    """
    name = adapted.active_adapters[0]
    for layer in lora_layers(adapted, name).values():
        if not _has_start(layer, name):
            start_here(layer, name, subtract=subtract)
    _, state = saved_form(adapted)
    expected = peft.get_peft_model_state_dict(adapted, state, adapter_name=name, save_embedding_layers=False)
    refuse_mismatch(shapes(expected), shapes(weights), directory)
    rest = dict(weights)
    for place, (weight, start, dim) in _starts(adapted, name).items():
        both = rest.pop(f"{place.removesuffix(f'.{name}')}.weight")
        for target, half in zip((weight, start), both.chunk(2, dim=dim), strict=True):
            target.data.copy_(half)
    peft.set_peft_model_state_dict(adapted, rest, adapter_name=name)


def _starts(adapted: peft.PeftModel, name: str) -> dict[str, tuple[torch.Tensor, torch.Tensor, int]]:
    """Name of each A and B -> what trains, what it started from (of B: the negative), where the rank runs."""
    found = {}
    for place, layer in adapted.named_modules():
        if not isinstance(layer, LoraLayer) or not isinstance(layer.lora_A, nn.ModuleDict):
            continue
        for part, dim in PARTS.items():
            linear = getattr(layer, part)
            if name in linear and (pair := _pair(linear[name])) is not None:
                found[f"{place}.{part}.{name}"] = (*pair, dim)
    return found


def _pair(linear: nn.Module) -> tuple[torch.Tensor, torch.Tensor] | None:
    if parametrize.is_parametrized(linear, "weight"):
        extension = cast("parametrize.ParametrizationList", linear.parametrizations["weight"])  # type: ignore[index]
        return extension.original, cast(Extended, extension[0]).start
    start = linear._buffers.get(START)
    return None if start is None else (cast(torch.Tensor, linear.weight), start)


def _has_start(layer: LoraLayer, name: str) -> bool:
    return _pair(layer.lora_A[name]) is not None
