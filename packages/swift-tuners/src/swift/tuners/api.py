"""Tuners in Python, without a configuration file, on any torch model.

model = apply_tuner(model, "lora", lora_rank=16)
...train, model.save_pretrained("adapter")...
model = merge_tuner(load_tuner(base, "adapter"))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from swift.core.errors import ConfigError
from swift.core.registry import tuners
from swift.tuners.adapters import ADAPTER_CONFIG

if TYPE_CHECKING:
    from torch import nn

    from swift.core.protocols import Tuner


def build_tuner(tuner: str, **settings: Any) -> Tuner:
    """A tuner by name; settings are the keys it has in YAML.

    Raises:
        RegistryError: no tuner of that name.
        ConfigError: a setting that does not exist or does not fit.
    """
    component = tuners.get(tuner)
    if component.config is None:
        return cast("Tuner", component.load()(**settings))
    try:
        config = component.config.model_validate(settings)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ConfigError(
            f"tuner {tuner!r} cannot be set so: {'; '.join(lines)}",
            f"its settings: {', '.join(component.config.model_fields)}",
        ) from None
    return cast("Tuner", component.load()(config))


def apply_tuner(model: nn.Module, tuner: str = "lora", **settings: Any) -> nn.Module:
    """Make exactly the parameters of a tuner trainable.

    Args:
        model: any torch module; changed in place, and wrapped by some tuners.
        tuner: a registered name (full, lora, ...).
        settings: the tuner's keys, such as lora_rank=16.

    Raises:
        RegistryError: no tuner of that name.
        ConfigError: a setting that does not exist or does not fit.
        ModelError: the tuner cannot work on this model.
    """
    return build_tuner(tuner, **settings).apply(model)


def load_tuner(model: nn.Module, directory: str | Path, *, trainable: bool = False) -> nn.Module:
    """Put saved weights on a freshly loaded base: an adapter in peft's format, or full weights.

    Raises:
        ModelError: nothing to load there, or the weights do not fit this model.
    """
    directory = Path(directory)
    name = "lora" if (directory / ADAPTER_CONFIG).is_file() else "full"
    return build_tuner(name).load(model, directory, trainable=trainable)


def merge_tuner(model: nn.Module) -> nn.Module:
    """A plain model that computes the same function; a model without an adapter is returned as it is.

    Raises:
        ModelError: the adapter cannot be merged without loss.
    """
    name = "lora" if hasattr(model, "peft_config") else "full"
    return build_tuner(name).merge(model)
