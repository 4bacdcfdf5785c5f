"""The cases of the contract matrix: every registered tuner on three architectures, in tiny sizes.

A newly registered tuner is tested without a change here. The tables below say only where a method needs other
settings on a tiny model, and where its own mathematics allows less than the contract; each with its reason.
"""

from __future__ import annotations

import copy
import gc
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from swift.core.config.schema import ModelConfig
from swift.core.models.attention import register_varlen_attention
from swift.core.models.load import load_tokenizer, save_model
from swift.core.models.tiny.vocabulary import VOCAB_SIZE
from swift.core.registry import Component, tuners

SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.125,  # 1 / sqrt(hidden_size), so that logits have a size
}
EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2}
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "qwen3": (transformers.Qwen3Config, {"tie_word_embeddings": True}),
    "llama": (transformers.LlamaConfig, {"tie_word_embeddings": False}),
    "qwen3-moe": (transformers.Qwen3MoeConfig, {"tie_word_embeddings": False, **EXPERTS}),
}

EXACT = 1e-5  # float32; products may be added up in another order, as fused LoRA does

SETTINGS: dict[str, dict[str, Any]] = {
    "boft": {"boft_block_size": 4},
    "fourierft": {"n_frequency": 100},
    "lisa": {"lisa_activated_layers": 1, "lisa_step_interval": 2},
    "llamapro": {"num_new_blocks": 1},
}
"""Keys under train: where a method's defaults are too large for these models."""

RATES: dict[str, float] = {"full": 5e-3}
"""Learning rates other than 0.02."""

QUANTISED = "the sum with quantised weights would be rounded"
TOKENS = "virtual tokens stand before the input from the start"

SEEN = torch.randint(0, 2000, (8, 16), generator=torch.Generator().manual_seed(9))
"""The batch that data-driven methods start from."""

STARTS_ELSEWHERE: dict[str, str] = {
    "loftq": "the base is quantised",
    "prefix": TOKENS,
    "prompt": TOKENS,
}
"""Methods whose fresh adapter changes the function, and why."""

LOAD_BOUNDS: dict[str, tuple[float, str]] = {
    "loftq": (2.0, "what 4 bits lost of the weights is not lost on the original base"),
    "qlora": (1.0, "bitsandbytes infers on CPUs with bfloat16 scales, so that a router may choose otherwise"),
}
"""Largest difference of logits after loading other than 1e-5, and why."""

MERGE_BOUNDS: dict[str, tuple[float, str]] = {}
"""Largest difference of logits after merging other than 1e-5, and why."""

KEEPS_ADAPTER: dict[str, str] = {"loftq": QUANTISED, "qlora": QUANTISED}
"""Mergeable methods whose base here forbids it unless it is dequantised, and why."""

STANDS_ALONE: dict[str, str] = {"loftq": "it quantises the base, which the first adapter is for"}
"""Adapters that refuse to stand beside another, and why."""


@dataclass
class Case:
    """One method on one architecture."""

    component: Component
    family: str
    folder: Path  # the base, saved
    plain: nn.Module = field(repr=False)  # the base, loaded; copied, never changed
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.component.name

    @property
    def attributes(self) -> dict[str, Any]:
        return {"mergeable": True, "packs": True, **dict(self.component.attributes)}

    @property
    def merges(self) -> bool:
        return bool(self.attributes["mergeable"]) and self.method not in KEEPS_ADAPTER

    @property
    def merge_bound(self) -> float:
        return MERGE_BOUNDS.get(self.method, (EXACT, ""))[0]

    @property
    def load_bound(self) -> float:
        return LOAD_BOUNDS.get(self.method, (EXACT, ""))[0]

    @property
    def starts_elsewhere(self) -> bool:
        return self.method in STARTS_ELSEWHERE

    @property
    def stands_beside(self) -> bool:
        return bool(self.attributes["adapter"]) and self.method not in STANDS_ALONE

    def tuner(self) -> Any:
        from swift.tuners.api import build_tuner

        return build_tuner(self.method, **self.settings)

    def base(self, **load: Any) -> nn.Module:
        """A fresh base, loaded as the method wants it (quantised)."""
        options = {**self.tuner().load_options(), **load}
        if not options:
            return copy.deepcopy(self.plain)
        model: nn.Module = transformers.AutoModelForCausalLM.from_pretrained(
            self.folder, dtype=torch.float32, **options
        )
        return model.eval()

    def applied(self, name: str | None = None, model: nn.Module | None = None) -> nn.Module:
        """The method on a fresh base, or as a further adapter on a model."""
        from swift.tuners import apply_tuner

        options: dict[str, Any] = {**self.settings, "batches": [{"input_ids": SEEN, "labels": SEEN}]}
        if name is not None:
            options["adapter_name"] = name
        torch.manual_seed(1)
        return apply_tuner(model or self.base(), self.method, **options)

    def changed(self, name: str | None = None, model: nn.Module | None = None, seed: int = 2) -> nn.Module:
        """As if trained: noise on all that trains."""
        changed = self.applied(name, model)
        add_noise(changed, seed)
        return changed

    def sections(self, output: Path, data: Path, **train: Any) -> dict[str, dict[str, Any]]:
        """A run of 6 steps on the same 8 rows."""
        return {
            "model": {"model_id": str(self.folder)},
            "data": {"dataset_name": str(data), "max_length": 48},
            "train": {
                "output_dir": str(output),
                "tuner_strategy": self.method,
                **self.settings,
                "learning_rate": RATES.get(self.method, 0.02),
                "lr_scheduler_type": "constant",
                "per_device_train_batch_size": 8,
                "max_steps": 6,
                "save_steps": 3,
                "save_total_limit": None,
                "progress": False,
                **train,
            },
        }


def add_noise(model: nn.Module, seed: int, size: float = 0.02) -> None:
    """Move every parameter that trains by normal noise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(size * torch.randn(value.shape, generator=generator).to(value.dtype))


def is_written(component: Component) -> bool:
    """Whether the component's implementation and settings are there."""
    module = str(component.target).partition(":")[0]
    return component.config is not None and importlib.util.find_spec(module) is not None


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, nn.Module]]]:
    """Family -> folder and model, with the tiny tokenizer."""
    register_varlen_attention()
    tokenizer = load_tokenizer(ModelConfig())
    made = {}
    for name, (config, extra) in FAMILIES.items():
        torch.manual_seed(0)
        sizes = {**SIZES, **extra, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
        model: Any = transformers.AutoModelForCausalLM.from_config(config(**sizes)).eval()
        folder = tmp_path_factory.mktemp(name)
        save_model(model, tokenizer, folder)
        model.name_or_path = str(folder)
        made[name] = folder, model
    gc.freeze()  # the trainer collects garbage after each run: half its time with all libraries loaded
    yield made
    gc.unfreeze()


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 chats."""
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    words = "one two three four five six seven eight".split()
    chats = [{"prompt": f"say {word}", "response": f"{word} it is, {word}!"} for word in words]
    path.write_text("".join(json.dumps(chat) + "\n" for chat in chats), encoding="utf-8")
    return path


@pytest.fixture(params=sorted(FAMILIES), scope="module")
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=tuners.names(), scope="module")
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def make_case(bases: dict[str, tuple[Path, nn.Module]]) -> Callable[[Component, str], Case]:
    """A cell of the matrix by its method and architecture."""
    return lambda component, family: Case(component, family, *bases[family], SETTINGS.get(component.name, {}))


@pytest.fixture(scope="module")
def case(method: str, family: str, make_case: Callable[[Component, str], Case]) -> Case:
    """One cell of the matrix."""
    component = tuners.get(method)
    if not is_written(component):
        pytest.skip(f"{component.target} is not written yet")
    return make_case(component, family)
