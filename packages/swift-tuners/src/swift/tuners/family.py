"""The adapters that a model carries, whoever put them there: peft, or the layers of swift.tuners.own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from swift.core.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from swift.core.protocols import Tuner

NAME = re.compile(r"[\w-]+")


class Family(Protocol):
    """What one kind of adapters can do; implemented by a module of functions."""

    def carries(self, model: nn.Module) -> bool:
        """Whether the model has adapters of this kind."""

    def makes(self, tuner: Tuner) -> bool:
        """Whether the tuner adds adapters of this kind."""

    def recognises(self, directory: Path) -> bool:
        """Whether the folder holds an adapter of this kind."""

    def names(self, model: nn.Module) -> list[str]:
        """Names of the adapters, in the order in which they came."""

    def active(self, model: nn.Module) -> str:
        """Name of the adapter in use."""

    def switch(self, model: nn.Module, name: str) -> None:
        """Use another adapter, which becomes the one that trains."""

    def load(self, model: nn.Module, directory: Path, *, trainable: bool, name: str) -> nn.Module:
        """Put a saved adapter on the model, beside those that are there, and use it."""

    def save(self, model: nn.Module, directory: Path) -> None:
        """Write the adapter in use."""

    def merge_in_place(self, model: nn.Module) -> None:
        """Add the adapter in use to the weights, so that unmerge() can take it out again."""

    def unmerge(self, model: nn.Module) -> None:
        """Take out what merge_in_place() added."""

    def merge(self, model: nn.Module, *, dequantize: bool) -> nn.Module:
        """A plain model with the adapter in use in its weights."""


def families() -> tuple[Family, ...]:
    """All kinds."""
    from swift.tuners import own_adapters, peft_adapters

    return peft_adapters, own_adapters


def family_of(model: nn.Module) -> Family | None:
    """The kind of adapters that a model carries; None: it carries none."""
    return next((family for family in families() if family.carries(model)), None)


def carried(model: nn.Module) -> Family:
    """The kind of adapters that a model carries.

    Raises:
        ModelError: it carries none.
    """
    family = family_of(model)
    if family is None:
        raise ModelError(f"{type(model).__name__} carries no adapter", "apply or load a tuner first")
    return family


def check_known(family: Family, model: nn.Module, name: str) -> None:
    """Refuse a name that no adapter has.

    Raises:
        ModelError: there is none of that name.
    """
    known = family.names(model)
    if name not in known:
        raise ModelError(f"there is no adapter {name!r} on the model", f"its adapters: {', '.join(known)}")


def check_new(model: nn.Module, name: str) -> None:
    """Refuse a name that cannot be given to a new adapter.

    Raises:
        ModelError: it is taken, or no name.
    """
    if not NAME.fullmatch(name):  # a part of module names, and of peft's file names
        raise ModelError(f"adapter_name {name!r} is no name", "use letters, digits, - and _")
    family = family_of(model)
    if family is not None and name in family.names(model):
        raise ModelError(
            f"the model carries an adapter {name!r} already", "give the new one another adapter_name"
        )


def check_same(model: nn.Module, family: Family) -> None:
    """Refuse a second kind of adapters, which switching, saving and merging would not reach.

    Raises:
        ModelError: the model carries adapters of the other kind.
    """
    there = family_of(model)
    if there is not None and there is not family:
        raise ModelError(
            f"the model carries adapters of another kind: {', '.join(there.names(model))}",
            "adapters beside each other are all of peft's methods, or all of ours (adapter, reft); "
            "merge_tuner(model) first, where the method can be merged",
        )
