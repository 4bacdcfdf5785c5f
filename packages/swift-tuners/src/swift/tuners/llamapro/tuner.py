"""LLaMA Pro: new blocks between the frozen ones (arXiv 2401.02415)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoConfig

from swift.core.errors import ModelError
from swift.core.models.heads import classifier_layers
from swift.core.models.layers import decoder_layers, depth_of
from swift.tuners.full.tuner import FullTuner
from swift.tuners.llamapro.config import LlamaproConfig
from swift.tuners.llamapro.expand import check_expandable, expand
from swift.tuners.llamapro.placement import from_record, place
from swift.tuners.llamapro.record import RECORD


class LlamaproTuner(FullTuner):
    """Copies of some blocks, put behind them with o_proj = down_proj = 0: x + 0 = x, so training starts at
    the base. Only they train. What is saved is a deeper model that needs nothing of ours.
    """

    def __init__(self, config: LlamaproConfig | None = None) -> None:
        super().__init__()
        self.settings = config or LlamaproConfig()

    def apply(self, model: nn.Module) -> nn.Module:
        """Expand the model in place and freeze all but the new blocks (and a new classification head).

        Raises:
            ModelError: weights are quantised, or blocks of this architecture cannot be added exactly; the
                model is left as it was.
        """
        super().apply(model)
        known = check_expandable(model)
        depth = depth_of(known) or 0
        expand(known, place(depth, self.settings.num_new_blocks, self.settings.num_groups))
        return _train_new_blocks(known)

    def load(self, model: nn.Module, directory: Path, *, trainable: bool = False) -> nn.Module:
        """Copy saved weights into the expanded model, or into the base, which is expanded first.

        Raises:
            ModelError: no expanded model there, or one of another base (the differences are listed).
        """
        known = check_expandable(model)
        depth, new = _recorded(directory)
        if depth_of(known) == depth - len(new):
            expand(known, from_record(new, depth))
        super().load(known, directory)
        return _train_new_blocks(known) if trainable else known


def _recorded(directory: Path) -> tuple[int, list[int]]:
    """Depth of a saved model and numbers of its new blocks."""
    try:
        config: Any = AutoConfig.from_pretrained(directory).get_text_config()
    except (OSError, ValueError) as error:
        raise ModelError(f"no model can be loaded from {str(directory)!r}: {error}") from error
    new = getattr(config, RECORD, None)
    if new is None:
        raise ModelError(
            f"{str(directory)!r} was not written by llamapro: its config.json has no {RECORD}",
            "load it as it is",
        )
    return config.num_hidden_layers, new


def _train_new_blocks(model: nn.Module) -> nn.Module:
    _, layers = decoder_layers(model)
    config: Any = model.config
    model.requires_grad_(False)
    for number in getattr(config.get_text_config(), RECORD):
        layers[number].requires_grad_(True)
    for name in classifier_layers(model):
        model.get_submodule(name).requires_grad_(True)
    return model
