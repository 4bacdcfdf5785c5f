"""The folder of an adapter of our own: swift_adapter.json and its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from swift.core.errors import ModelError
from swift.tuners.adapters import OWN_CONFIG, OWN_WEIGHTS
from swift.tuners.own.carried import own_layers

VERSION = 1  # of the format


class SavedAdapter(BaseModel):
    """swift_adapter.json. The names that peft's adapter_config.json has too mean the same."""

    model_config = ConfigDict(extra="forbid")

    version: int = VERSION
    method: str
    config: dict[str, Any]
    base_model_name_or_path: str | None = None
    task_type: str | None = None


def write_adapter(model: nn.Module, name: str, saved: SavedAdapter, directory: Path) -> None:
    """Write one of the adapters that a model carries."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file(
        {key: value.detach().cpu() for key, value in state(model, name).items()}, directory / OWN_WEIGHTS
    )
    (directory / OWN_CONFIG).write_text(saved.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_config(directory: Path) -> SavedAdapter:
    """What swift_adapter.json says.

    Raises:
        ModelError: it is not there, cannot be read, or is of a later version than this package knows.
    """
    path = directory / OWN_CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("version", 0) > VERSION:
            raise ModelError(
                f"{str(path)!r} has version {content['version']}, and this package reads {VERSION}",
                "update swift-tuners",
            )
        return SavedAdapter.model_validate(content)
    except FileNotFoundError:
        raise ModelError(f"{str(directory)!r} holds no adapter ({OWN_CONFIG})") from None
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error


def read_weights(directory: Path) -> dict[str, torch.Tensor]:
    """The adapter's tensors by name.

    Raises:
        ModelError: the file is not there or damaged.
    """
    path = directory / OWN_WEIGHTS
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error


def state(model: nn.Module, name: str) -> dict[str, torch.Tensor]:
    """An adapter's tensors, each named by the layer of the base that it is beside."""
    return {
        f"{place}.{key}": value
        for place, layer in own_layers(model).items()
        if name in layer.adapters
        for key, value in layer.adapters[name].state_dict().items()
    }


def fill(model: nn.Module, name: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Copy tensors of state() into the adapter of this name."""
    for place, layer in own_layers(model).items():
        if name in layer.adapters:
            inside = {key: weights[f"{place}.{key}"] for key in layer.adapters[name].state_dict()}
            layer.adapters[name].load_state_dict(inside)
