"""LoReFT: low-rank edits of the hidden states between layers (arXiv 2404.03592)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from swift.core.errors import ModelError
from swift.core.models.layers import decoder_layers
from swift.tuners.own.blocks import hidden_size
from swift.tuners.own.tuner import OwnTuner
from swift.tuners.reft.config import ReftConfig
from swift.tuners.reft.intervention import LowRankEdit, PromptEnds
from swift.tuners.reft.layer import ReftLayer


class ReftTuner(OwnTuner):
    """One edit after each chosen layer."""

    method = "reft"
    config_class = ReftConfig
    layer_class = ReftLayer
    not_mergeable = "it edits hidden states between layers, where the model has no weights"

    def adapters(self, model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """An edit for each chosen layer.

        Raises:
            ModelError: a layer that the model does not have, a rank that is too large, or an unknown width.
        """
        config = self.config
        path, layers = decoder_layers(model)
        chosen = range(len(layers)) if config.reft_layers == "all" else sorted(set(config.reft_layers))
        beyond = [index for index in chosen if index >= len(layers)]
        if beyond or not chosen:
            raise ModelError(
                f"reft_layers is {config.reft_layers}, and the model has layers 0 to {len(layers) - 1}"
            )
        width = hidden_size(model)
        if width is None:
            raise ModelError(f"the width of {type(model).__name__} is unknown: it has no transformers config")
        if config.reft_rank >= width:
            raise ModelError(
                f"reft_rank {config.reft_rank} is not below the model's width {width}",
                f"set train.reft_rank={width // 2} or less",
            )
        return {
            f"{path}.{index}": LowRankEdit(width, config.reft_rank, config.reft_dropout, self._ends())
            for index in chosen
        }

    def _ends(self) -> PromptEnds | None:
        config = self.config
        if config.reft_positions == "all":
            return None
        if config.reft_first_tokens + config.reft_last_tokens == 0:
            raise ModelError(
                "reft_first_tokens and reft_last_tokens are both 0: no token would be edited",
                "raise one of them",
            )
        return PromptEnds(config.reft_first_tokens, config.reft_last_tokens)
