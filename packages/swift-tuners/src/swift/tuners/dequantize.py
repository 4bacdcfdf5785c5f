"""A plain model out of one whose weights are kept in few bits."""

from __future__ import annotations

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import nn

from swift.core.errors import ModelError

QUANTISED = ("Params4bit", "Int8Params")  # how bitsandbytes keeps 4 and 8 bits


def is_quantised_layer(module: nn.Module) -> bool:
    """Whether bitsandbytes keeps this layer's weight."""
    return type(module._parameters.get("weight")).__name__ in QUANTISED


def dequantised(model: nn.Module) -> nn.Module:
    """Replace each quantised layer by a plain one of the weights that it computes with, in place.

    Raises:
        ModelError: layers are quantised by something else than bitsandbytes.
    """
    found = {name: module for name, module in model.named_modules() if is_quantised_layer(module)}
    if not found:
        raise ModelError(
            f"{type(model).__name__} is quantised, but not by bitsandbytes: that cannot be undone here",
            "load the base without quantisation",
        )
    for name, layer in found.items():
        model.set_submodule(name, _plain(layer))
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None:
        quantizer.remove_quantization_config(model)
        model.is_loaded_in_4bit = model.is_loaded_in_8bit = False  # type: ignore[assignment]
    return model


def dequantised_weight(layer: nn.Module) -> torch.Tensor:
    """The weight [out, in] that a layer computes with, in its own precision."""
    weight: torch.Tensor = dequantize_module_weight(layer)
    return weight.detach()


def _plain(layer: nn.Module) -> nn.Linear:
    weight, bias = dequantised_weight(layer), layer._parameters.get("bias")
    if bias is not None:
        weight = weight.to(bias.dtype)
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    plain.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return plain
