"""What a model carries of our own adapters: their names, the active one, taking them off."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from swift.core.errors import ModelError, did_you_mean
from swift.tuners.own.layer import Origin, OwnAdapterLayer


def own_layers(model: nn.Module) -> dict[str, OwnAdapterLayer]:
    """Name in the base -> layer with adapters."""
    return {name: module for name, module in base_names(model) if isinstance(module, OwnAdapterLayer)}


def base_names(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module under the name that it, or the layer it stands for, has in the base; adapters left out."""
    yield from _walk(model, "")


def carries_own(model: nn.Module) -> bool:
    """Whether the model has layers with adapters of our own."""
    return any(isinstance(module, OwnAdapterLayer) for module in model.modules())


def adapter_names(model: nn.Module) -> list[str]:
    """Names of the adapters, in the order in which they came."""
    return list(dict.fromkeys(name for layer in own_layers(model).values() for name in layer.adapters))


def origin(model: nn.Module, name: str) -> Origin:
    """What made an adapter that the model carries."""
    return next(layer.origins[name] for layer in own_layers(model).values() if name in layer.origins)


def active_adapter(model: nn.Module) -> str | None:
    """Name of the adapter in use; None: the base computes alone."""
    return next((layer.active for layer in own_layers(model).values() if layer.active is not None), None)


def switch(model: nn.Module, name: str | None, *, trainable: bool | None = None) -> None:
    """Use another adapter, or none. The others keep their weights; beside one in use they do not train.

    Args:
        name: which one; None: the base alone.
        trainable: whether it trains; default: if the one before did.

    Raises:
        ModelError: the model carries no adapter of this name.
    """
    names = adapter_names(model)
    if name is not None and name not in names:
        raise ModelError(f"the model carries no adapter {name!r}", did_you_mean(name, names))
    layers = own_layers(model).values()
    trains = any(_trains(layer) for layer in layers) if trainable is None else trainable
    for layer in layers:
        layer.active = None
        if name is None:  # what trained goes on with that when it comes back
            continue
        layer.adapters.requires_grad_(False)
        if name in layer.adapters:
            layer.active = name
            layer.adapters[name].requires_grad_(trains)


def remove(model: nn.Module, name: str | None = None) -> nn.Module:
    """Take an adapter off, or all of them; layers without any are the base's own again.

    Raises:
        ModelError: the model carries no adapter of this name.
    """
    if name is not None and name not in adapter_names(model):
        raise ModelError(f"the model carries no adapter {name!r}", did_you_mean(name, adapter_names(model)))
    for place, layer in own_layers(model).items():
        for gone in [name] if name is not None else list(layer.adapters):
            if gone in layer.adapters:
                del layer.adapters[gone], layer.origins[gone]
            layer.active = None if layer.active == gone else layer.active
        if not layer.adapters:
            replace(model, place, layer.base_layer)
    return model


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place that has this name in the base."""
    parent_name, _, last = name.rpartition(".")
    parent = dict(base_names(model))[parent_name]
    setattr(parent.base_layer if isinstance(parent, OwnAdapterLayer) else parent, last, module)


def _walk(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    yield name, module
    inner = module.base_layer if isinstance(module, OwnAdapterLayer) else module
    for child_name, child in inner.named_children():
        yield from _walk(child, f"{name}.{child_name}" if name else child_name)


def _trains(layer: OwnAdapterLayer) -> bool:
    return any(weight.requires_grad for weight in layer.adapters.parameters())
