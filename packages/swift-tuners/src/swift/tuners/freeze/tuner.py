"""Training a part of the weights in full: by layer, by share or by name."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import nn

from swift.core.errors import ModelError
from swift.core.models.heads import classifier_layers
from swift.core.models.layers import decoder_layers
from swift.tuners.freeze.config import FreezeConfig
from swift.tuners.freeze.names import after_share, aliases, matching, of_module
from swift.tuners.full.tuner import FullTuner

logger = logging.getLogger(__name__)

LAST_LAYERS = 2  # what trains when no key chooses anything


class FreezeTuner(FullTuner):
    """Chosen weights train, all others stay; what is saved is a whole model.

    The choice starts from the layers of freeze_trainable_layers, from all behind freeze_parameters_ratio, or,
    with neither, from everything if freeze_parameters is set and from nothing otherwise. Then
    freeze_parameters leave it, and trainable_parameters and freeze_extra_modules join it. A new
    classification head always trains. A tied weight has several names: what one of them says holds for it.
    """

    def __init__(self, config: FreezeConfig | None = None) -> None:
        super().__init__()
        self.settings = config or FreezeConfig()

    def apply(self, model: nn.Module) -> nn.Module:
        """Make the chosen parameters trainable.

        Raises:
            ModelError: a pattern or a layer that the model does not have, nothing is left to train, or the
                weights are quantised.
        """
        super().apply(model)
        chosen = chosen_parameters(model, self.settings)
        for name, value in model.named_parameters():
            value.requires_grad_(name in chosen)
        return model

    def load(self, model: nn.Module, directory: Path, *, trainable: bool = False) -> nn.Module:
        """Copy saved weights into a model of the same architecture.

        Raises:
            ModelError: no weights there, or weights of another architecture (the differences are listed).
        """
        super().load(model, directory)
        return self.apply(model) if trainable else model


def chosen_parameters(model: nn.Module, settings: FreezeConfig) -> set[str]:
    """Names of the parameters that train.

    Raises:
        ModelError: a pattern or a layer that the model does not have, or nothing is left.
    """
    names = aliases(model)
    chosen = _start(model, settings, set(names))
    for pattern in settings.freeze_parameters:
        chosen -= matching(pattern, names, "freeze_parameters")
    for pattern in settings.trainable_parameters:
        chosen |= matching(pattern, names, "trainable_parameters")
    for wanted in settings.freeze_extra_modules:
        chosen |= of_module(wanted, model, names)
    for layer in classifier_layers(model):
        chosen |= {name for name in names if name.startswith(f"{layer}.")}
    if not chosen:
        raise ModelError(
            "freezing leaves no parameter that trains",
            "lower freeze_parameters_ratio, or name some in trainable_parameters",
        )
    for name in chosen:
        if len(names[name]) > 1:
            logger.warning("%s are one tied weight, which trains", " and ".join(names[name]))
    return chosen


def _start(model: nn.Module, settings: FreezeConfig, every: set[str]) -> set[str]:
    if settings.freeze_parameters_ratio is not None:
        return after_share(model, settings.freeze_parameters_ratio)
    layers = settings.freeze_trainable_layers
    if layers is None and settings.freeze_parameters:
        return every
    if layers is None and (settings.trainable_parameters or settings.freeze_extra_modules):
        return set()
    return _of_layers(model, LAST_LAYERS if layers is None else layers, every)


def _of_layers(model: nn.Module, wanted: int | list[int], every: set[str]) -> set[str]:
    path, layers = decoder_layers(model)
    numbers = layer_numbers(wanted, len(layers))
    beginnings = tuple([f"{path}.{number}." for number in numbers])
    return {name for name in every if name.startswith(beginnings)}


def layer_numbers(wanted: int | list[int], depth: int) -> list[int]:
    """Which of `depth` layers are meant: the last n, the first n for -n, or those of a list (negative: from
    the end).

    Raises:
        ModelError: there are not so many layers.
    """
    if isinstance(wanted, int):
        outside = abs(wanted) > depth
        numbers = list(range(depth))[-wanted:] if wanted > 0 else list(range(-wanted))
    else:
        outside = any(not -depth <= number < depth for number in wanted)
        numbers = sorted({number % depth for number in wanted})
    if outside:
        raise ModelError(
            f"freeze_trainable_layers: {wanted} does not fit a model of {depth} layers",
            f"use a number between -{depth} and {depth}, or a list of numbers below {depth}",
        )
    return numbers
