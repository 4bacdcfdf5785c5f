"""Attention and feed-forward blocks of a model's layers, found without knowing the architecture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from transformers.pytorch_utils import Conv1D

from swift.core.errors import ModelError
from swift.core.models.layers import decoder_layers

ATTENTION = re.compile(r"attn|attention|mixer|mamba|recurrent", re.IGNORECASE)
FEEDFORWARD = re.compile(r"mlp|moe|ffn|feed_?forward|(^|_)ff($|_)", re.IGNORECASE)


@dataclass(frozen=True)
class Blocks:
    """Names of what one layer is made of."""

    layer: str
    attention: tuple[str, ...]
    feedforward: tuple[str, ...]


def find_blocks(model: nn.Module, modules: Mapping[str, nn.Module]) -> list[Blocks]:
    """The blocks of every layer, from the first to the last.

    A block is a direct part of a layer that has parts itself (a norm has none) and whose name or class says
    what it is. Where the feed-forward layers lie in the layer itself (OPT's fc1, fc2), the last one counts.

    Args:
        modules: all modules by the names that they have in the base, without adapters.

    Raises:
        ModelError: the model has no list of layers, or a layer has no such block.
    """
    path, layers = decoder_layers(model)
    return [_blocks(f"{path}.{index}", modules, model) for index in range(len(layers))]


def hidden_size(model: nn.Module) -> int | None:
    """Width of the hidden states between layers, where a transformers model's configuration says it."""
    read = getattr(getattr(model, "config", None), "get_text_config", None)
    width = getattr(read(), "hidden_size", None) if read is not None else None
    return width if isinstance(width, int) else None


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer, also a quantised one."""
    return isinstance(module, nn.Linear | Conv1D)


def _blocks(layer: str, modules: Mapping[str, nn.Module], model: nn.Module) -> Blocks:
    parts = {
        name: module
        for name, module in modules.items()
        if name.startswith(f"{layer}.") and "." not in name[len(layer) + 1 :]
    }
    attention = _named(parts, ATTENTION)
    feedforward = [name for name in _named(parts, FEEDFORWARD) if name not in attention]
    if not feedforward:
        feedforward = [name for name, module in parts.items() if is_linear(module)][-1:]
    if not attention and not feedforward:
        raise ModelError(
            f"{layer!r} of {type(model).__name__} has neither an attention nor a feed-forward block that can "
            f"be told by name; its parts: {', '.join(name.rpartition('.')[2] for name in parts) or 'none'}",
            "name the modules yourself: train.target_modules",
        )
    return Blocks(layer, tuple(attention), tuple(feedforward))


def _named(parts: Mapping[str, nn.Module], pattern: re.Pattern[str]) -> list[str]:
    return [
        name
        for name, module in parts.items()
        if next(module.children(), None) is not None
        and (pattern.search(name.rpartition(".")[2]) or pattern.search(type(module).__name__))
    ]
