"""A layer of the base with adapters beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Origin:
    """What made an adapter: a method by its registered name, and the settings it had."""

    method: str
    config: Any


class OwnAdapterLayer(nn.Module):
    """Stands in the place of a layer: computes what the layer does, changed by the active adapter.

    Attributes of the layer (layer_idx, weight, ...) are found through this module.

    Args:
        base_layer: the layer itself, which stays frozen.

    Attributes:
        adapters: by name.
        origins: what made each of them.
        active: name of the one in use; None: the base alone.
    """

    base_layer: nn.Module

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.adapters = nn.ModuleDict()
        self.origins: dict[str, Origin] = {}
        self.active: str | None = None
        self.training = base_layer.training

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":  # not there yet, or while copying
                raise
            return getattr(self.base_layer, name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's output, changed by the active adapter."""
        if self.active is None:
            return self.plain(*args, **kwargs)
        return self.adapted(self.adapters[self.active], *args, **kwargs)

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        """The output without any adapter."""
        return self.base_layer(*args, **kwargs)

    def adapted(self, adapter: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """The output with an adapter; by default it maps the layer's (first) output [B, T, D] to another."""
        output = self.base_layer(*args, **kwargs)
        if isinstance(output, tuple):
            return (adapter(output[0]), *output[1:])
        return adapter(output)


class CopiedLayer(OwnAdapterLayer):
    """A layer that trains as a whole: its adapters are copies of it, in float32, used instead of it."""

    def adapted(self, adapter: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """What the copy computes."""
        cast = [value.float() if _is_float(value) else value for value in args]
        return adapter(*cast, **kwargs)


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
