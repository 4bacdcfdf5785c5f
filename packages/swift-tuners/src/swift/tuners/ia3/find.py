"""Which layers (IA)^3 scales, found by their place in the model."""

from __future__ import annotations

import re

from torch import nn

from swift.core.errors import ModelError
from swift.tuners.own.blocks import find_blocks, hidden_size, is_linear
from swift.tuners.targets import base_layers, sides

KEYS_OR_VALUES = re.compile(
    r"(^|_)(k|v|kv|qkv|key|value|key_value|query_key_value|c_attn|in_proj)(_|$)|^Wqkv$", re.IGNORECASE
)


def keys_and_values(model: nn.Module) -> list[str]:
    """Full names of the linear layers that make keys or values; one that makes queries as well counts too.

    Raises:
        ModelError: there is none, or the model's layers cannot be told.
    """
    modules = dict(base_layers(model))
    blocks = [block for each in find_blocks(model, modules) for block in each.attention]
    found = [
        name
        for name, module in modules.items()
        if is_linear(module)
        and any(name.startswith(f"{block}.") for block in blocks)
        and KEYS_OR_VALUES.search(name.rpartition(".")[2])
    ]
    if not found:
        raise ModelError(
            f"no layer of {type(model).__name__} makes keys or values by its name",
            "name the layers yourself: train.target_modules and train.feedforward_modules",
        )
    return found


def feedforward_outputs(model: nn.Module) -> list[str]:
    """Full names of the linear layers that bring a feed-forward block back to the model's width.

    Experts whose weights lie together in one tensor have no such layer.
    """
    modules = dict(base_layers(model))
    blocks = [block for each in find_blocks(model, modules) for block in each.feedforward]
    width = hidden_size(model)
    last: dict[str, str] = {}
    for name, module in modules.items():
        inside = any(name == block or name.startswith(f"{block}.") for block in blocks)
        if inside and is_linear(module) and width in (None, (sides(module) or (0, 0))[1]):
            last[name.rpartition(".")[0]] = name
    return list(last.values())
