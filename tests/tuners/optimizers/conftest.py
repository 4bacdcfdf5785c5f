"""Tiny models and a small run for every optimiser."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from swift.core.config.schema import OptimConfig
from swift.core.registry import optimizers
from swift.core.train.optimizer import build_optimizer

Sections = dict[str, dict[str, Any]]
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
ARCHITECTURES = {
    "qwen3": (transformers.Qwen3Config, {}),
    "llama": (transformers.LlamaConfig, {}),
    "qwen3-moe": (transformers.Qwen3MoeConfig, EXPERTS),
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "galore": ("galore", {"rank": 6, "update_proj_gap": 2, "scale": 1.0}),
    "galore-randomized": (
        "galore",
        {"rank": 6, "update_proj_gap": 2, "scale": 1.0, "projection": "randomized"},
    ),
    "galore-8bit": ("galore", {"rank": 6, "update_proj_gap": 2, "scale": 1.0, "base": "adamw8bit"}),
    "galore-adafactor": ("galore", {"rank": 6, "update_proj_gap": 2, "scale": 1.0, "base": "adafactor"}),
    "q-galore": ("q-galore", {"rank": 6, "update_proj_gap": 1, "scale": 1.0, "queue_size": 2}),
    "apollo": ("apollo", {"rank": 6, "update_proj_gap": 2}),
    "apollo-mini": ("apollo", {"scale_type": "tensor", "update_proj_gap": 2}),
    "muon": ("muon", {}),
    "adam-mini": ("adam-mini", {}),
    "schedule-free": ("schedule-free", {"warmup_steps": 2}),
}
"""Every optimiser of the package, with settings that fit tiny models."""


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Each optimiser in turn: its name and train.optim_config."""
    return CASES[request.param]


@pytest.fixture(scope="session")
def cases() -> dict[str, tuple[str, dict[str, Any]]]:
    """All of them."""
    return CASES


@pytest.fixture
def make() -> Callable[..., Any]:
    """An optimiser as a run builds it."""

    def build(model: nn.Module, name: str, lr: float = 3e-3, **settings: Any) -> Any:
        config = OptimConfig.model_validate({"optim": name, "optim_config": settings})
        return build_optimizer(optimizers.get(name), model, config, lr)

    return build


@pytest.fixture
def tiny() -> Callable[..., nn.Module]:
    """A transformer with the same weights at every call."""

    def build(name: str = "llama", **sizes: Any) -> nn.Module:
        torch.manual_seed(0)
        config, extra = ARCHITECTURES[name]
        model: nn.Module = transformers.AutoModelForCausalLM.from_config(config(**SIZES | extra | sizes))
        return model

    return build


@pytest.fixture
def fit() -> Callable[..., list[float]]:
    """Losses of some steps on token sequences that repeat."""

    def run(model: nn.Module, optimizer: Any, steps: int = 20, start: int = 0) -> list[float]:
        losses = []
        for step in range(start, start + steps):
            draw = torch.Generator().manual_seed(step)
            tokens = torch.randint(0, 8, (4, 1), generator=draw) + torch.arange(16)
            loss: Tensor = model(input_ids=tokens, labels=tokens).loss
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        return losses

    return run


@pytest.fixture(scope="session")
def chat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 chats of unequal length."""
    words = "the quick brown fox jumps over a lazy dog while seven wizards brew strong coffee".split()
    draw = random.Random(1)
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    rows = [
        {
            "prompt": " ".join(draw.choices(words, k=draw.randint(2, 6))),
            "response": " ".join(draw.choices(words, k=draw.randint(2, 10))),
        }
        for _ in range(32)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def sections(chat_file: Path, tmp_path: Path) -> Sections:
    """A short run with full parameters; tests change what they need."""
    return {
        "model": {"model_id": "tiny/qwen3"},
        "data": {"dataset_name": str(chat_file), "max_length": 64},
        "train": {
            "output_dir": str(tmp_path / "run"), "per_device_train_batch_size": 4, "max_steps": 6,
            "save_steps": 3, "save_total_limit": None, "learning_rate": 1e-3, "dtype": "float32",
        },
        "device": {"device": "cpu"},
    }  # fmt: skip
