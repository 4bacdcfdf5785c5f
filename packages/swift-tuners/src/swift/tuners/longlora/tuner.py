"""LongLoRA: LoRA, embeddings and norms, trained with attention in shifted groups (arXiv 2309.12307).

What is saved is an ordinary LoRA adapter in peft's format, which also holds embeddings and norms. Inference
attends to everything and needs nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import peft
from torch import nn
from transformers import PreTrainedModel

from swift.core.errors import ModelError
from swift.tuners.longlora.attention import restore_attention, shift_attention
from swift.tuners.longlora.config import LongloraConfig
from swift.tuners.longlora.groups import Groups
from swift.tuners.longlora.whole import embedding_name, has_tied_embeddings, norm_names, train_in_float32
from swift.tuners.lora.tuner import LoraTuner
from swift.tuners.peft_tuner import DEFAULT, base_of, peft_model


class LongloraTuner(LoraTuner):
    """LoRA for long contexts. Its groups act in training mode only, in causal layers without a cache."""

    config_class = LongloraConfig

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT) -> nn.Module:
        """Shift the attention of training, freeze the model and add what trains.

        Raises:
            ModelError: the attention cannot be shifted, or the adapter cannot be put on.
        """
        before = self._shift(model)
        try:
            adapted = super().apply(model, adapter_name)
        except ModelError:
            before()
            raise
        train_in_float32(peft_model(adapted))
        return adapted

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of LoRA, with embeddings and norms among what is saved.

        Raises:
            ModelError: the rank is too large for a layer, or the model shows no embeddings.
        """
        whole = list(common["modules_to_save"] or [])
        if self.config.train_norms:
            whole += norm_names(model)
        if self.config.train_embeddings:
            whole.append(embedding_name(model))
        config: Any = super().peft_config(model, {**common, "modules_to_save": whole or None})
        config.ensure_weight_tying = self.config.train_embeddings and has_tied_embeddings(model)
        return cast("peft.PeftConfig", config)

    def load(
        self, model: nn.Module, directory: Path, *, trainable: bool = False, adapter_name: str = DEFAULT
    ) -> nn.Module:
        """Put a saved adapter on its base, which is left as it was if the adapter does not fit.

        Raises:
            ModelError: no adapter there, one of another base, or attention that cannot be shifted.
        """
        adapted = super().load(model, directory, trainable=trainable, adapter_name=adapter_name)
        if trainable:
            self._shift(adapted)
            train_in_float32(peft_model(adapted))
            self.restore(adapted, directory)  # with the digits that the base's precision has no room for
        return adapted

    def merge(self, model: nn.Module) -> nn.Module:
        """Make the adapter part of the weights, drop it, and shift nothing any more.

        Raises:
            ModelError: the base is quantised, or the result is not finite.
        """
        merged = super().merge(model)
        restore_attention(cast("PreTrainedModel", merged))
        return merged

    def _shift(self, model: nn.Module) -> Callable[[], None]:
        """Shift, and say how to undo it."""
        base = base_of(model)
        if not isinstance(base, PreTrainedModel):
            raise ModelError(
                f"{type(base).__name__} does not take its attention from transformers",
                "longlora shifts the attention of transformers models: choose tuner_strategy: lora",
            )
        former = base.config._attn_implementation
        shift_attention(base, Groups(self.config.group_size, self.config.group_size_ratio))
        return lambda: base.set_attn_implementation(former)
