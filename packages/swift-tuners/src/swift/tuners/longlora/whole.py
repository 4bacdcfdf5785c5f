"""Embeddings and norms that train in full beside LoRA, in float32."""

from __future__ import annotations

import functools
from typing import Any

import peft
import torch
from peft.utils import ModulesToSaveWrapper
from torch import nn

from swift.core.errors import ModelError
from swift.tuners.targets import base_layers


def embedding_name(model: nn.Module) -> str:
    """Full name of the input embeddings.

    Raises:
        ModelError: the model does not show them.
    """
    find = getattr(model, "get_input_embeddings", None)
    module = find() if find is not None else None
    names: list[str] = [name for name, each in model.named_modules() if each is module]
    if names:
        return names[0]
    raise ModelError(f"{type(model).__name__} shows no input embeddings", "set train_embeddings=false")


def has_tied_embeddings(model: nn.Module) -> bool:
    """Whether the output layer has the weight of the input embeddings."""
    inputs: Any = getattr(model, "get_input_embeddings", lambda: None)()
    outputs: Any = getattr(model, "get_output_embeddings", lambda: None)()
    return inputs is not None and getattr(outputs, "weight", None) is getattr(inputs, "weight", inputs)


def norm_names(model: nn.Module) -> list[str]:
    """Names of all norms with weights, as short as they mean nothing else (peft compares their ends)."""
    modules = dict(base_layers(model))
    full = {
        name
        for name, module in modules.items()
        if "norm" in type(module).__name__.lower()
        and next(module.parameters(recurse=False), None) is not None
    }
    ends = {name.rpartition(".")[2] for name in full}
    meant = {name for name in modules if name.endswith(tuple(ends))}
    return sorted(ends if meant == full else full)


def train_in_float32(adapted: peft.PeftModel) -> None:
    """Keep what trains in full in float32: a base of lower precision would lose small updates.

    The rest of the model sees the precision that it is used to.
    """
    low = [  # all of them first: a tied weight is in two
        copy
        for wrapper in adapted.modules()
        if isinstance(wrapper, ModulesToSaveWrapper)
        for copy in wrapper.modules_to_save.values()
        if any(weight.dtype != torch.float32 for weight in copy.parameters())
    ]
    for copy in low:
        dtype = next(copy.parameters()).dtype
        copy.register_forward_pre_hook(_to_float32)
        copy.register_forward_hook(functools.partial(_to, dtype))
    for copy in low:
        copy.float()


def _to_float32(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([value.float() if value.is_floating_point() else value for value in inputs])


def _to(dtype: torch.dtype, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    return output.to(dtype)
