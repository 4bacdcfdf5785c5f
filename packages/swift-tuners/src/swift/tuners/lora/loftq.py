"""LoftQ (arXiv 2310.08659): quantised weights and a LoRA that starts at what quantisation loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, cast

import peft
import torch
from torch import nn

from swift.core.errors import ModelError
from swift.tuners.dequantize import dequantised_weight
from swift.tuners.lora.config import LoftqConfig
from swift.tuners.lora.quantization import keep_exact_on_cpu, need_bitsandbytes
from swift.tuners.lora.start import check_exact, fill_start, lora_layers, name_in_base, start_here
from swift.tuners.lora.tuner import LoraTuner
from swift.tuners.peft_tuner import DEFAULT, inject, peft_model, saved_weights


class Split(NamedTuple):
    """W [out, in] as Q + L R: a quantised layer and the low-rank rest, L [out, r] and R [r, in]."""

    layer: nn.Module
    left: torch.Tensor
    right: torch.Tensor


class LoftqTuner(LoraTuner):
    """y = Q x + s B A x, where Q + s B0 A0 is close to W.

    The base is loaded with its exact weights; apply() quantises the layers that get adapters. What is saved
    is s (B A - B0 A0), for the original base; what stays lost of W is smaller than after quantising alone.
    """

    config_class = LoftqConfig

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT) -> nn.Module:
        """Quantise the layers that get adapters, and add those.

        Raises:
            ModelError: bitsandbytes is missing, a target is quantised already or matches nothing, or the rank
                is too large.
        """
        need_bitsandbytes("loftq")
        _refuse_shared(model)
        adapted = peft_model(super().apply(model, adapter_name))  # finds, and checks, where adapters go
        layers = lora_layers(adapted, adapter_name)
        config = adapted.peft_config[adapter_name]
        base = adapted.unload()
        splits = {}
        for place, layer in layers.items():
            name = name_in_base(place)
            splits[name] = self._quantise(base, name, layer.r[adapter_name])
        base.is_loaded_in_4bit, base.is_loaded_in_8bit = self._bits == 4, self._bits == 8  # peft looks there
        adapted = inject(base, config, adapter_name)
        keep_exact_on_cpu(adapted)
        base.is_loaded_in_4bit = base.is_loaded_in_8bit = (
            False  # accelerate takes that for transformers' doing
        )
        for place, layer in lora_layers(adapted, adapter_name).items():
            split = splits[name_in_base(place)]
            layer.lora_A[adapter_name].weight.data.copy_(split.right / layer.scaling[adapter_name])
            layer.lora_B[adapter_name].weight.data.copy_(split.left)
            start_here(layer, adapter_name, subtract=False)
        return cast(nn.Module, adapted)

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of LoRA.

        Raises:
            ModelError: a target is quantised already, or the rank is too large.
        """
        check_exact(model, common["target_modules"], self.config.exclude_modules)
        return super().peft_config(model, common)

    def restore(self, model: nn.Module, directory: Path) -> bool:
        """Put a checkpoint's weights and start back.

        Raises:
            ModelError: no adapter there, or one that does not fit (the differences are listed).
        """
        fill_start(peft_model(model), saved_weights(directory), directory, subtract=False)
        return True

    @property
    def _bits(self) -> int:
        return int(self.config.loftq_bits)

    def _quantise(self, base: nn.Module, name: str, rank: int) -> Split:
        layer = cast(nn.Linear, base.get_submodule(name))
        split = quantised_split(layer, rank, self._bits, self.config.loftq_iter)
        base.set_submodule(name, split.layer)
        return split


@torch.no_grad()
def quantised_split(layer: nn.Linear, rank: int, bits: int, rounds: int) -> Split:
    """Alternate Q = quantised(W - L R) and L R = the best approximation of W - Q of that rank."""
    weight = layer.weight.detach().float()
    left, right = weight.new_zeros(weight.shape[0], rank), weight.new_zeros(rank, weight.shape[1])
    for _ in range(rounds):
        made = quantised_layer(layer, (weight - left @ right).to(layer.weight.dtype), bits)
        u, s, v = torch.linalg.svd(weight - dequantised_weight(made).float(), full_matrices=False)
        root = s[:rank].sqrt()
        left, right = u[:, :rank] * root, root[:, None] * v[:rank]
    return Split(made, left, right)


def quantised_layer(layer: nn.Linear, weight: torch.Tensor, bits: int) -> nn.Module:
    """A layer like this one with a weight kept in 4 (NF4, double quantisation) or 8 bits."""
    import bitsandbytes as bnb

    sizes = (layer.in_features, layer.out_features, layer.bias is not None)
    if bits == 4:
        made = bnb.nn.Linear4bit(*sizes, quant_type="nf4", compress_statistics=True, device="meta")
        kept = bnb.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
    else:
        made = bnb.nn.Linear8bitLt(*sizes, has_fp16_weights=False, threshold=6.0, device="meta")
        kept = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    made.weight = kept.to(weight.device)
    made.bias = layer.bias
    return made.train(layer.training)  # type: ignore[no-any-return]


def _refuse_shared(model: nn.Module) -> None:
    if isinstance(model, peft.PeftModel):
        raise ModelError(
            "loftq changes the base, which other adapters on this model are for",
            "apply it first, or to a base of its own",
        )
