"""Full fine-tuning: every parameter trains, and what is saved is a whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_model
from torch import nn
from transformers import PreTrainedModel

from swift.core.errors import ModelError
from swift.core.protocols import Tuner
from swift.tuners.full.config import FullConfig
from swift.tuners.mismatch import refuse_mismatch, shapes

WEIGHTS = "model.safetensors"


class FullTuner(Tuner):
    """Every parameter trains."""

    def __init__(self, config: FullConfig | None = None) -> None:
        self.config = config or FullConfig()

    def load_options(self) -> dict[str, Any]:
        """Nothing: the base is loaded as it is."""
        return {}

    def apply(self, model: nn.Module) -> nn.Module:
        """Make every parameter trainable.

        Raises:
            ModelError: weights are kept as integers (quantised), which have no gradient.
        """
        integers = [name for name, value in model.named_parameters() if not value.dtype.is_floating_point]
        if integers:
            raise ModelError(
                f"{len(integers)} weights are quantised, {integers[0]!r} the first: they cannot be trained",
                "load the model without quantisation, or choose tuner_strategy: qlora",
            )
        return model.requires_grad_(True)

    def save(self, model: nn.Module, directory: Path) -> None:
        """Write the weights, of a transformers model with its configuration."""
        if isinstance(model, PreTrainedModel):
            model.save_pretrained(directory)
            return
        directory.mkdir(parents=True, exist_ok=True)
        save_model(model, str(directory / WEIGHTS))

    def load(self, model: nn.Module, directory: Path, *, trainable: bool = False) -> nn.Module:
        """Copy saved weights into a model of the same architecture.

        Raises:
            ModelError: no weights there, or weights of another architecture (the differences are listed).
        """
        read = _pretrained_state if isinstance(model, PreTrainedModel) else _plain_state
        tied = _tied_names(model)
        state = {name: value for name, value in read(model, directory).items() if name not in tied}
        expected = {name: value for name, value in model.state_dict().items() if name not in tied}
        refuse_mismatch(shapes(expected), shapes(state), directory)
        model.load_state_dict(state, strict=False)
        return model.requires_grad_(trainable)

    def merge(self, model: nn.Module) -> nn.Module:
        """The model itself: nothing was added to it."""
        return model


def _tied_names(model: nn.Module) -> set[str]:
    """Second and later names of parameters that have several; files keep the first only."""
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return every - {name for name, _ in model.named_parameters()}


def _pretrained_state(model: nn.Module, directory: Path) -> dict[str, torch.Tensor]:
    # from_pretrained also translates the names under which transformers stores some architectures.
    kind = cast("type[PreTrainedModel]", type(model))
    try:
        saved = kind.from_pretrained(directory, dtype=next(model.parameters()).dtype)
    except (OSError, ValueError) as error:
        raise ModelError(f"no model can be loaded from {str(directory)!r}: {error}") from error
    return cast("dict[str, torch.Tensor]", saved.state_dict())


def _plain_state(_: nn.Module, directory: Path) -> dict[str, torch.Tensor]:
    path = directory / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{str(path)!r} does not exist", "name a folder that FullTuner.save() has written")
    return load_file(path)
