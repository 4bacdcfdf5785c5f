"""Small models of three architectures, and a few steps of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import nn

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 64,  # bitsandbytes quantises blocks of 64
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
}
EXPERTS = {"moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2}
ARCHITECTURES: dict[str, tuple[Any, dict[str, int]]] = {
    "qwen3": (transformers.Qwen3Config, {}),
    "llama": (transformers.LlamaConfig, {}),
    "qwen3-moe": (transformers.Qwen3MoeConfig, EXPERTS),
}
Build = Callable[..., Any]


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.arange(24).reshape(2, 12) % 64


@pytest.fixture
def build() -> Build:
    """A model with random weights that depend on the architecture alone."""

    def make(name: str = "qwen3", **sizes: Any) -> Any:
        torch.manual_seed(0)
        config, extra = ARCHITECTURES[name]
        return transformers.AutoModelForCausalLM.from_config(config(**SIZES | extra | sizes)).eval()

    return make


@pytest.fixture
def logits(tokens: torch.Tensor) -> Callable[[nn.Module], torch.Tensor]:
    def compute(model: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = model.eval()(input_ids=tokens).logits
        return result

    return compute


@pytest.fixture
def train(tokens: torch.Tensor) -> Callable[..., list[float]]:
    def steps(model: nn.Module, count: int = 5, rate: float = 0.02) -> list[float]:
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
        losses = []
        for _ in range(count):
            loss = model.train()(input_ids=tokens, labels=tokens).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    return steps


@pytest.fixture
def apply(tokens: torch.Tensor) -> Callable[..., tuple[Any, Any]]:
    """Build a tuner, apply it, and show it batches if it wants some."""
    from swift.tuners.api import build_tuner

    def make(model: nn.Module, name: str, **settings: Any) -> tuple[Any, Any]:
        tuner: Any = build_tuner(name, **settings)
        adapted = tuner.apply(model)
        if tuner.batches_wanted():
            batch = {"input_ids": tokens, "labels": tokens}
            tuner.initialize(adapted, [batch, batch], lambda part, one: part(**one).loss)
        return tuner, adapted

    return make
