"""What our own adapter methods share: choosing layers, saving, loading."""

from __future__ import annotations

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from pydantic import ValidationError
from torch import nn
from transformers import PreTrainedModel

from swift.core.config.schema import Config
from swift.core.errors import ModelError
from swift.core.models.heads import classifier_layers
from swift.core.protocols import Tuner
from swift.core.registry import tuners
from swift.tuners.mismatch import refuse_mismatch, shapes
from swift.tuners.own.carried import (
    active_adapter,
    adapter_names,
    base_names,
    origin,
    own_layers,
    remove,
    replace,
    switch,
)
from swift.tuners.own.layer import CopiedLayer, Origin, OwnAdapterLayer
from swift.tuners.own.saved import SavedAdapter, fill, read_config, read_weights, state, write_adapter

DEFAULT = "default"
NAME = re.compile(r"[\w-]+")


class OwnTuner(Tuner, ABC):
    """A method whose modules stand in the place of layers.

    Args:
        config: the method's settings; default: its defaults.

    Attributes:
        method: name in the registry of tuners.
        config_class: of the settings.
        layer_class: what takes the place of a layer.
        not_mergeable: why the adapter cannot become part of the weights.
    """

    method: ClassVar[str]
    config_class: ClassVar[type[Config]]
    layer_class: ClassVar[type[OwnAdapterLayer]] = OwnAdapterLayer
    not_mergeable: ClassVar[str]

    def __init__(self, config: Any = None) -> None:
        self.config: Any = config or self.config_class()

    @abstractmethod
    def adapters(self, model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """New adapters in float32, by the name of the layer that each goes beside.

        Args:
            model: the base, or the base with other adapters on it.
            modules: its modules by the names that they have in the base.

        Raises:
            ModelError: a setting does not fit the model.
        """

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT) -> nn.Module:
        """Freeze the model and put an adapter on it, which is then the active one.

        Raises:
            ModelError: a setting does not fit the model, or it carries an adapter of this name already.
        """
        _check_name(model, adapter_name)
        modules = {name: _inner(module) for name, module in base_names(model)}
        places = {name: (self.layer_class, one) for name, one in self.adapters(model, modules).items()}
        places |= {name: (CopiedLayer, one) for name, one in self._copies(model, modules).items()}
        present = own_layers(model)
        _check_places(places, present)
        model.requires_grad_(False)
        for name, (layer_class, adapter) in places.items():
            layer = present.get(name)
            if layer is None:
                layer = layer_class(modules[name])
                replace(model, name, layer)
            layer.adapters[adapter_name] = adapter.to(_device(modules[name], model), torch.float32)
            layer.origins[adapter_name] = Origin(self.method, self.config)
        switch(model, adapter_name, trainable=True)
        return model

    def save(self, model: nn.Module, directory: Path, adapter_name: str | None = None) -> None:
        """Write an adapter; default: the active one.

        Raises:
            ModelError: the model carries none.
        """
        name = adapter_name or active_adapter(model)
        if name is None or name not in adapter_names(model):
            raise ModelError(
                f"{type(model).__name__} carries no active adapter", "apply or load a tuner first"
            )
        made = origin(model, name)
        saved = SavedAdapter(
            method=made.method,
            config=made.config.model_dump(mode="json"),
            base_model_name_or_path=_base_name(model),
            task_type=_task_type(model),
        )
        write_adapter(model, name, saved, directory)

    def load(
        self, model: nn.Module, directory: Path, *, trainable: bool = False, adapter_name: str = DEFAULT
    ) -> nn.Module:
        """Put a saved adapter on its base, which is left as it was if the adapter does not fit.

        An adapter of this name that the model carries already takes the saved weights.

        Raises:
            ModelError: no adapter there, or one of another method or base (the differences are listed).
        """
        saved = read_config(directory)
        if saved.method != self.method:
            raise ModelError(
                f"{str(directory)!r} holds an adapter of method {saved.method!r}, not {self.method!r}",
                f"set train.tuner_strategy={saved.method}",
            )
        weights = read_weights(directory)
        tuner = type(self)(_settings(self.config_class, saved, directory))
        there = adapter_name in adapter_names(model)
        before = active_adapter(model)
        if not there:
            tuner.apply(model, adapter_name)
        try:
            refuse_mismatch(shapes(state(model, adapter_name)), shapes(weights), directory)
        except ModelError as error:
            if not there:
                remove(model, adapter_name)
                switch(model, before)
            hint = f" ({saved.base_model_name_or_path!r})" if saved.base_model_name_or_path else ""
            raise ModelError(error.problem, error.remedy + hint) from None
        fill(model, adapter_name, weights)
        switch(model, adapter_name, trainable=trainable)
        return model

    def merge(self, model: nn.Module) -> nn.Module:
        """Refused: what this method adds is no change of the weights.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{self.method} cannot be merged into the weights: {self.not_mergeable}",
            "use the adapter beside its base: swift infer --adapter FOLDER",
        )

    def _copies(self, model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Layers that train as a whole: a new classification head, and what the settings name."""
        wanted = [*classifier_layers(model), *getattr(self.config, "modules_to_save", [])]
        ends = tuple([f".{name}" for name in wanted])
        found = {name: module for name, module in modules.items() if f".{name}".endswith(ends) and ends}
        missing = [end[1:] for end in ends if not any(f".{name}".endswith(end) for name in found)]
        if missing:
            raise ModelError(
                f"modules_to_save: {missing[0]!r} matches no layer of {type(model).__name__}",
                "name layers by the end of their name",
            )
        return {name: copy.deepcopy(module) for name, module in found.items()}


def load_own(
    model: nn.Module, directory: Path, *, trainable: bool = False, adapter_name: str = DEFAULT
) -> nn.Module:
    """Put a saved adapter of any of our own methods on its base.

    Raises:
        ModelError: no adapter there, or one of another base (the differences are listed).
        RegistryError: its method is not installed.
    """
    tuner = tuners.get(read_config(directory).method).load()()
    return cast(OwnTuner, tuner).load(model, directory, trainable=trainable, adapter_name=adapter_name)


def own_tuner(model: nn.Module) -> OwnTuner:
    """The tuner whose active (or first) adapter a model carries, to save or to merge it.

    Raises:
        ModelError: the model carries none.
    """
    names = adapter_names(model)
    if not names:
        raise ModelError(f"{type(model).__name__} carries no adapter", "apply or load a tuner first")
    made = origin(model, active_adapter(model) or names[0])
    return cast(OwnTuner, tuners.get(made.method).load()(made.config))


def _check_name(model: nn.Module, name: str) -> None:
    if name in adapter_names(model):
        raise ModelError(f"the model carries an adapter {name!r} already", "give each adapter its own name")
    if not NAME.fullmatch(name) or hasattr(nn.ModuleDict, name):
        raise ModelError(
            f"an adapter cannot be called {name!r}", "use letters, digits, _ and -, and no method of a dict"
        )


def _check_places(
    places: Mapping[str, tuple[type[OwnAdapterLayer], nn.Module]], present: Mapping[str, OwnAdapterLayer]
) -> None:
    if not places:
        raise ModelError("the settings choose no layer", "choose at least one")
    for name, (layer_class, _) in places.items():
        if name in present and type(present[name]) is not layer_class:
            raise ModelError(
                f"{name!r} carries an adapter of another method ({type(present[name]).__name__})",
                "take that off first, or choose other layers",
            )


def _inner(module: nn.Module) -> nn.Module:
    return module.base_layer if isinstance(module, OwnAdapterLayer) else module


def _device(module: nn.Module, model: nn.Module) -> torch.device:
    weight = next(module.parameters(), None)
    return (next(model.parameters()) if weight is None else weight).device


def _settings(config_class: type[Config], saved: SavedAdapter, directory: Path) -> Config:
    try:
        return config_class.model_validate(saved.config)
    except ValidationError as error:
        raise ModelError(
            f"{str(directory)!r} has settings that {saved.method} does not take: {error}",
            "update swift-tuners",
        ) from error


def _base_name(model: nn.Module) -> str | None:
    name = model.__dict__.get("name_or_path") or None
    return str(Path(name).resolve()) if name and Path(name).is_dir() else name


def _task_type(model: nn.Module) -> str | None:
    """The model's task, in peft's words."""
    if classifier_layers(model):
        return "SEQ_CLS"
    if not isinstance(model, PreTrainedModel):
        return None
    return "CAUSAL_LM" if model.can_generate() else "FEATURE_EXTRACTION"
