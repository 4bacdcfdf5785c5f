"""Rewards given as objects: functions pass through, classification models are wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer

from swift.core.errors import ConfigError
from swift.core.protocols import Reward


def as_reward(item: Reward | nn.Module) -> Reward:
    """A reward function, or one that reads the score of a sequence classification model with one output.

    Raises:
        ConfigError: the model has more or fewer than one output.
    """
    if not isinstance(item, nn.Module):
        return item
    config: Any = getattr(item, "config", None)
    labels = getattr(config, "num_labels", None)
    if labels != 1:
        raise ConfigError(f"the reward model has {labels} outputs", "give one with num_labels=1")
    tokenizer = AutoTokenizer.from_pretrained(config._name_or_path)
    return ModelReward(item, tokenizer)


class ModelReward:
    """score = the classification head's single output on the rendered conversation."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str], **columns: Any) -> list[float]:
        """One score a completion."""
        texts = [
            self.tokenizer.apply_chat_template(
                [*prompt, {"role": "assistant", "content": text}], tokenize=False
            )
            for prompt, text in zip(prompts, completions, strict=True)
        ]
        device = next(self.model.parameters()).device
        inputs = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(device)
        with torch.no_grad():
            scores: list[float] = self.model(**inputs).logits[:, 0].float().tolist()
        return scores
