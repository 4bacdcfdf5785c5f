"""Putting new blocks into a model, all or none."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from swift.core.errors import ModelError
from swift.core.models.layers import decoder_layers, depth_of
from swift.tuners.llamapro.identity import OUTPUTS, check_rebuilds, check_same_function, probe, silence
from swift.tuners.llamapro.placement import Placement, expanded_values

NUMBERED = ("layer_idx", "layer_id", "layer_number")
"""Attributes by which modules know their layer's number (caches are kept under it)."""


def check_expandable(model: nn.Module) -> PreTrainedModel:
    """The model itself, if its depth is written in its configuration.

    Raises:
        ModelError: it is not.
    """
    if isinstance(model, PreTrainedModel) and depth_of(model) is not None:
        return model
    raise ModelError(
        f"{type(model).__name__} has no configuration that says how many layers it has",
        "llamapro expands transformers models with config.num_hidden_layers: choose another tuner_strategy",
    )


def expand(model: PreTrainedModel, placement: Placement) -> list[nn.Module]:
    """Insert the new blocks, which start as the identity, and rewrite the configuration; the new blocks.

    Raises:
        ModelError: blocks of this architecture cannot be made the identity, or would be built otherwise
            from the new configuration; the model is left as it was.
    """
    path, old = decoder_layers(model)
    config: Any = model.config.get_text_config()
    before = probe(model)
    former = {key: getattr(config, key, None) for key in expanded_values(config, placement)}
    layers = [
        _silent_copy(old[source]) if number in placement.new else old[source]
        for number, source in enumerate(placement.sources)
    ]
    try:
        _install(model, path, nn.ModuleList(layers), expanded_values(config, placement))
        check_same_function(model, before)
        check_rebuilds(model)
    except ModelError:
        _install(model, path, old, former)
        raise
    return [layers[number] for number in placement.new]


def _silent_copy(layer: nn.Module) -> nn.Module:
    block = copy.deepcopy(layer)
    if silence(block) == 0:
        raise ModelError(
            f"{type(layer).__name__} has no last projection of a known name ({', '.join(OUTPUTS)})",
            "its copy cannot be made the identity: choose another tuner_strategy",
        )
    return block


def _install(model: PreTrainedModel, path: str, layers: nn.ModuleList, values: dict[str, Any]) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, layers)
    for number, layer in enumerate(layers):
        for module in layer.modules():
            for key in NUMBERED:
                if isinstance(vars(module).get(key), int):
                    setattr(module, key, number)
    config = model.config.get_text_config()
    for key, value in values.items():
        if value is None and key in vars(config):
            delattr(config, key)
        elif value is not None:
            setattr(config, key, value)
