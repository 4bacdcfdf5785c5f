"""The adapters of swift.tuners.own on a model. Implements swift.tuners.family.Family."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from swift.core.errors import ModelError
from swift.core.protocols import Tuner
from swift.tuners.adapters import OWN_CONFIG
from swift.tuners.own.carried import active_adapter, adapter_names, carries_own
from swift.tuners.own.carried import switch as switch_own
from swift.tuners.own.tuner import DEFAULT, OwnTuner, load_own, own_tuner


def carries(model: nn.Module) -> bool:
    """Whether layers of ours stand in the place of the model's."""
    return carries_own(model)


def makes(tuner: Tuner) -> bool:
    """Whether the tuner adds adapters of this kind."""
    return isinstance(tuner, OwnTuner)


def recognises(directory: Path) -> bool:
    """Whether the folder holds an adapter of our own format."""
    return (directory / OWN_CONFIG).is_file()


def names(model: nn.Module) -> list[str]:
    """Names of the adapters, in the order in which they came."""
    return adapter_names(model)


def active(model: nn.Module) -> str:
    """Name of the adapter in use.

    Raises:
        ModelError: none is.
    """
    name = active_adapter(model)
    if name is None:
        raise ModelError("no adapter of the model is in use", "choose one with switch_adapter()")
    return name


def switch(model: nn.Module, name: str) -> None:
    """Use another adapter; it trains if the one before did."""
    switch_own(model, name)


def load(model: nn.Module, directory: Path, *, trainable: bool = False, name: str = DEFAULT) -> nn.Module:
    """Put a saved adapter on the model, beside those that are there, and use it.

    Raises:
        ModelError: one of another base (the differences are listed).
    """
    return load_own(model, directory, trainable=trainable, adapter_name=name)


def save(model: nn.Module, directory: Path) -> None:
    """Write the adapter in use."""
    own_tuner(model).save(model, directory)


def merge_in_place(model: nn.Module) -> None:
    """Refused: these adapters are no change of the weights.

    Raises:
        ModelError: always.
    """
    own_tuner(model).merge(model)


def unmerge(model: nn.Module) -> None:
    """Nothing: nothing is ever merged."""


def merge(model: nn.Module, *, dequantize: bool = False) -> nn.Module:
    """Refused: these adapters are no change of the weights.

    Raises:
        ModelError: always.
    """
    return own_tuner(model).merge(model)
