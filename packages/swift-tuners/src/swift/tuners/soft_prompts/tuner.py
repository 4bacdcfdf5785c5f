"""Prompt and prefix tuning through peft: trained virtual tokens before a frozen model's input."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from swift.core.errors import ModelError
from swift.tuners.peft_tuner import DEFAULT, PeftTuner, base_of, inject
from swift.tuners.soft_prompts.config import PrefixConfig, PromptConfig


class SoftPromptTuner(PeftTuner):
    """What both methods share."""

    mergeable = False

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT) -> nn.Module:
        """Freeze the model and put virtual tokens before its input.

        Raises:
            ModelError: the model does not predict next tokens.
        """
        base = base_of(model)
        if not isinstance(base, PreTrainedModel) or not base.can_generate():
            raise ModelError(
                f"{type(base).__name__} is no causal language model: it would pool virtual tokens too",
                "choose another tuner_strategy, such as lora",
            )
        adapted = inject(model, self.peft_config(base, {"task_type": "CAUSAL_LM"}), adapter_name)
        self.start(adapted.prompt_encoder[adapter_name].embedding.weight)
        return cast(nn.Module, adapted)

    @abstractmethod
    def start(self, weight: torch.Tensor) -> None:
        """Change how peft has initialised the new parameter [N, numbers a token]."""


class PromptTuner(SoftPromptTuner):
    """Embeddings of virtual tokens (arXiv 2104.08691)."""

    config_class = PromptConfig

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of prompt tuning."""
        drawn = self.config.prompt_init == "vocabulary"
        return peft.PromptTuningConfig(
            **common,
            num_virtual_tokens=self.config.num_virtual_tokens,
            prompt_tuning_init="SAMPLE_VOCAB" if drawn else "RANDOM",
        )

    def start(self, weight: torch.Tensor) -> None:
        """As peft has it."""


class PrefixTuner(SoftPromptTuner):
    """Keys and values of virtual tokens in every layer (arXiv 2101.00190), without the paper's network."""

    config_class = PrefixConfig

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of prefix tuning."""
        return peft.PrefixTuningConfig(**common, num_virtual_tokens=self.config.num_virtual_tokens)

    def start(self, weight: torch.Tensor) -> None:
        """Noise of the chosen size; peft's, of deviation 1, would drown the input."""
        with torch.no_grad():
            weight.normal_(std=self.config.prefix_init_std)
