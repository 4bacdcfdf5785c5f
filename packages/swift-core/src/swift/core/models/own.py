"""Models that plugins register: an architecture of the user's own, or a factory that returns a model.

A class derived from transformers.PreTrainedModel is registered under the model_type of its config_class. It
starts with random weights (model.architecture holds the arguments of its config); a folder that was saved
from it is found again by the model_type in its config.json, through the same plugin.

A function is called as (config, dtype=..., device=..., seed=..., **model.architecture), each of the three
only where it names it, and returns a PreTrainedModel. Its folder needs no plugin where transformers knows the
architecture.
"""

from __future__ import annotations

import functools
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from swift.core.config.schema import ModelConfig
from swift.core.errors import RAISED_BY_PLUGINS, ConfigError, ModelError, PluginError, in_one_line
from swift.core.registry import Component, models
from swift.plugin.parts import build_component, takes

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedConfig


class OwnFamily:
    """A registered model before its weights are drawn; what load.py asks of a tiny family, too.

    Args:
        component: of the registry of models.
        settings: the section model.
        load_tokenizer: loads the tokenizer of another model section.
    """

    def __init__(
        self, component: Component, settings: ModelConfig, load_tokenizer: Callable[[ModelConfig], Any]
    ) -> None:
        self.component = component
        self.settings = settings
        self.load_tokenizer = load_tokenizer
        self.target = component.load()

    @functools.cached_property
    def config(self) -> PreTrainedConfig:
        """Architecture and sizes; a factory is asked for a model without memory.

        Raises:
            PluginError: they cannot be built.
        """
        if is_architecture(self.target):
            check_type(self.component)
            return build_component("model", self._config_class, self.settings.architecture)
        return self.model_class.from_config(None, dtype=torch.float32, device="meta").config

    @property
    def model_class(self) -> Any:
        """What draws the weights."""
        made_by = Architecture if is_architecture(self.target) else Factory
        return made_by(self.component, self.settings)

    def processor(self) -> Any:
        """The tokenizer of model.tokenizer_id, or the one that the plugin names (tokenizer=...).

        Raises:
            ConfigError: neither says which.
            ModelError: it has more tokens than the model.
        """
        named = self.settings.tokenizer_id or dict(self.component.attributes).get("tokenizer")
        if named is None:
            raise ConfigError(
                f"{self.component.described('model')} comes without a tokenizer",
                "set model.tokenizer_id to a folder, a hub id or tiny/NAME, "
                "or register it with tokenizer=...",
            )
        tokenizer = self.load_tokenizer(ModelConfig(model_id=named, hub=self.settings.hub))
        size = self.config.get_text_config().vocab_size
        if size < len(tokenizer):
            raise ModelError(
                f"{self.component.described('model')} has {size} token embeddings, "
                f"and the tokenizer {named!r} has {len(tokenizer)} tokens",
                f"set model.architecture.vocab_size={len(tokenizer)}, or choose another tokenizer",
            )
        return tokenizer

    @property
    def _config_class(self) -> Component:
        """The class of its config, for errors that name the model's own place."""
        component = self.component
        return Component(component.name, self.target.config_class, place=component.place)


@dataclass(frozen=True)
class Architecture:
    """A class of models with random weights, in the form of an Auto class."""

    component: Component
    settings: ModelConfig

    def from_config(
        self, architecture: PreTrainedConfig, *, dtype: torch.dtype, attn_implementation: str
    ) -> PreTrainedModel:
        """Draw the weights.

        Raises:
            ModelError: it does not know this attention.
            PluginError: its constructor fails.
        """
        target = self.component.load()
        try:
            model = target._from_config(architecture, dtype=dtype, attn_implementation=attn_implementation)
        except (ImportError, ValueError):
            raise  # what transformers says of attention and sizes is translated where models are read
        except RAISED_BY_PLUGINS as error:
            raise PluginError(
                f"{self.component.described('model')} cannot be built with {self.settings.architecture}: "
                + in_one_line(error),
                "correct model.architecture, or the model's constructor",
            ) from error
        return cast("PreTrainedModel", model)


@dataclass(frozen=True)
class Factory:
    """A function that builds models, in the form of an Auto class."""

    component: Component
    settings: ModelConfig

    def from_config(
        self,
        architecture: Any,
        *,
        dtype: torch.dtype,
        device: str = "cpu",
        attn_implementation: str | None = None,
    ) -> PreTrainedModel:
        """Call it; random numbers come from the generator as it is seeded now.

        Raises:
            PluginError: it fails, or returns something else than a transformers model.
        """
        offered = {"dtype": dtype, "device": device, "seed": torch.initial_seed()}
        target = self.component.load()
        given = {name: value for name, value in offered.items() if takes(target, name)}
        with torch.device(device):
            model = build_component(
                "model", self.component, {**given, **self.settings.architecture}, self.settings
            )
        if not isinstance(model, PreTrainedModel):
            raise PluginError(
                f"{self.component.described('model')} returned a {type(model).__name__}",
                "return a transformers.PreTrainedModel: what is trained must have a config and be saved",
            )
        if attn_implementation is not None:
            model.set_attn_implementation(attn_implementation)
        return cast("PreTrainedModel", model.to(dtype))


def own_family(settings: ModelConfig, load_tokenizer: Callable[[ModelConfig], Any]) -> OwnFamily | None:
    """What a plugin registered under model.model_id, or None.

    Raises:
        ConfigError: model.architecture is set, and no registered model takes it.
    """
    if settings.model_id in models:
        return OwnFamily(models.get(settings.model_id), settings, load_tokenizer)
    if settings.architecture:
        raise ConfigError(
            f"model.architecture is set, and model.model_id={settings.model_id!r} names no registered model",
            f"leave it out, or name one: {', '.join(models) or 'none is registered'}",
        )
    return None


def adopt(folder: Path) -> Path:
    """Make the registered architecture of a saved folder known to transformers' Auto classes.

    Args:
        folder: with a config.json, whose model_type may be the name of a registered model.
    """
    name = model_type(folder)
    if name in models and is_architecture(target := models.get(name).load()):
        check_type(models.get(name))
        AutoConfig.register(name, target.config_class, exist_ok=True)
        AutoModelForCausalLM.register(target.config_class, target, exist_ok=True)
    return folder


def model_type(folder: Path) -> str:
    """The model_type of a model folder, or "" where it says none."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""  # what is wrong with it is said when it is read in earnest
    return str(values.get("model_type", "")) if isinstance(values, dict) else ""


def default_attention(settings: ModelConfig, folder: Path | None) -> str:
    """sdpa, or eager for an architecture of a plugin that does not know sdpa.

    Args:
        folder: of saved weights; None where model.model_id names the architecture itself.
    """
    name = settings.model_id if folder is None else model_type(folder)
    target = models.get(name).load() if name in models else None
    knows = getattr(target, "_supports_sdpa", False) or not is_architecture(target)
    return "sdpa" if knows else "eager"


def is_architecture(target: Any) -> bool:
    """Whether a registered model is a class with a config of its own."""
    return inspect.isclass(target) and issubclass(target, PreTrainedModel)


def check_type(component: Component) -> None:
    """Refuse a class that could not be found again by its saved config.

    Raises:
        PluginError: the model_type of its config_class is not its registered name.
    """
    config_class = component.load().config_class
    named = getattr(config_class, "model_type", "")
    if named != component.name:
        raise PluginError(
            f"{component.described('model')} has a config_class with model_type {named!r}",
            f"set model_type = {component.name!r} there: a saved folder is found again by it",
        )
