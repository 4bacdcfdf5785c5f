"""Bottleneck adapters after attention and feed-forward blocks (arXiv 1902.00751, 2005.00247)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from swift.core.errors import ModelError
from swift.tuners.adapter.bottleneck import Bottleneck
from swift.tuners.adapter.config import AdapterConfig
from swift.tuners.own.blocks import find_blocks, hidden_size, is_linear
from swift.tuners.own.tuner import OwnTuner
from swift.tuners.targets import sides


class AdapterTuner(OwnTuner):
    """A small network between a block and its residual connection."""

    method = "adapter"
    config_class = AdapterConfig
    not_mergeable = "between two layers of an adapter lies an activation"

    def adapters(self, model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """A bottleneck for each chosen block.

        Raises:
            ModelError: no block is found, or its width is unknown.
        """
        config = self.config
        names = self._targets(model, modules)
        return {
            name: Bottleneck(
                _width(model, name, modules[name]),
                config.adapter_size,
                config.adapter_activation,
                config.adapter_dropout,
            )
            for name in names
        }

    def _targets(self, model: nn.Module, modules: Mapping[str, nn.Module]) -> list[str]:
        if self.config.target_modules:
            return [name for target in self.config.target_modules for name in _ending(target, modules, model)]
        placement = self.config.adapter_placement
        found: list[str] = []
        for blocks in find_blocks(model, modules):
            found += blocks.attention if placement != "feed_forward" else ()
            found += blocks.feedforward if placement != "attention" else ()
        if not found:
            raise ModelError(
                f"adapter_placement: {type(model).__name__} has no {placement} block",
                "name modules: train.target_modules",
            )
        return found


def _ending(target: str, names: Iterable[str], model: nn.Module) -> list[str]:
    found = [name for name in names if f".{name}".endswith(f".{target}")]
    if not found:
        parts = sorted({name.rpartition(".")[2] for name in names} - {""})
        raise ModelError(
            f"target_modules: {target!r} matches no module of {type(model).__name__}",
            "modules there are: " + ", ".join(part for part in parts if not part.isdigit()),
        )
    return found


def _width(model: nn.Module, name: str, module: nn.Module) -> int:
    """Width of a module's output."""
    shape = sides(module) if is_linear(module) else None
    width = shape[1] if shape is not None else hidden_size(model)
    if width is None:
        raise ModelError(
            f"the width of the output of {name!r} ({type(module).__name__}) is unknown",
            "name linear layers under train.target_modules",
        )
    return width
