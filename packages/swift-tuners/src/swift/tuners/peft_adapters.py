"""The adapters of peft on a model: which there are, which is in use, in and out of the weights.

Implements swift.tuners.family.Family.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import peft
from torch import nn

from swift.core.errors import ModelError
from swift.core.protocols import Tuner
from swift.tuners.adapters import ADAPTER_CONFIG
from swift.tuners.peft_tuner import (
    DEFAULT,
    PeftTuner,
    is_merged,
    load_peft,
    merge_peft,
    mergeable,
    peft_model,
    refuse_quantised,
    save_peft,
)


def carries(model: nn.Module) -> bool:
    """Whether peft put adapters on it."""
    return isinstance(model, peft.PeftModel)


def makes(tuner: Tuner) -> bool:
    """Whether the tuner adds adapters of this kind."""
    return isinstance(tuner, PeftTuner)


def recognises(directory: Path) -> bool:
    """Whether the folder holds an adapter in peft's format."""
    path = directory / ADAPTER_CONFIG
    if not path.is_file():
        return False
    try:
        return "peft_type" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error


def names(model: nn.Module) -> list[str]:
    """Names of the adapters, in the order in which they came."""
    return list(peft_model(model).peft_config)


def active(model: nn.Module) -> str:
    """Name of the adapter in use."""
    return str(peft_model(model).active_adapters[0])


def switch(model: nn.Module, name: str) -> None:
    """Use another adapter; it trains if the one before did.

    Raises:
        ModelError: the one before is merged into the weights.
    """
    adapted = peft_model(model)
    if is_merged(adapted):
        raise ModelError(
            f"adapter {active(model)!r} is merged into the weights",
            "call unmerge_adapters() before switching",
        )
    trains = any(value.requires_grad for value in adapted.parameters())
    adapted.set_adapter(name, inference_mode=not trains)


def load(model: nn.Module, directory: Path, *, trainable: bool = False, name: str = DEFAULT) -> nn.Module:
    """Put a saved adapter on the model, beside those that are there, and use it.

    Raises:
        ModelError: no adapter there, or one of another base (the differences are listed).
    """
    return cast(nn.Module, load_peft(model, directory, trainable=trainable, name=name))


def save(model: nn.Module, directory: Path) -> None:
    """Write the adapter in use in peft's format."""
    save_peft(peft_model(model), directory)


def merge_in_place(model: nn.Module) -> None:
    """Add the adapter in use to the weights.

    Raises:
        ModelError: the base is quantised, or the method cannot be merged.
    """
    adapted = peft_model(model)
    refuse_quantised(adapted)
    tuner = mergeable(adapted)
    try:
        tuner.merge_adapter(safe_merge=True)
    except ValueError as error:  # weights that are not finite
        raise ModelError(f"the adapter cannot be merged: {error}", "choose an earlier checkpoint") from error


def unmerge(model: nn.Module) -> None:
    """Take out what merge_in_place() added."""
    mergeable(peft_model(model)).unmerge_adapter()


def merge(model: nn.Module, *, dequantize: bool = False) -> nn.Module:
    """A plain model with the adapter in use in its weights.

    Raises:
        ModelError: it cannot be merged without loss.
    """
    return merge_peft(model, dequantize=dequantize)
