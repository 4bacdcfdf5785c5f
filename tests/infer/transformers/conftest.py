"""LoRA adapters of a small model, and what peft answers with each of them alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from swift.core.models.tiny.family import tiny_tokenizer
from swift.core.types import GenerationRequest, SamplingParams
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.engine import TransformersEngine

KINDS: dict[str, dict[str, Any]] = {
    "two": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "all": {"r": 8, "target_modules": "all-linear", "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 7,
        "target_modules": ["q_proj", "k_proj", "down_proj"],
        "rank_pattern": {"k_proj": 2},
        "alpha_pattern": {"layers.1.self_attn.q_proj": 20},
    },
}
PROMPT = tuple(range(100, 112))
GREEDY = SamplingParams(16, 0.0, ignore_eos=True)


@dataclass
class Adapters:
    """Makes models, adapters and engines, and says what is right.

    Attributes:
        folders: an adapter of each of KINDS.
    """

    random_qwen3: Callable[..., Any]
    folders: dict[str, Path] = field(default_factory=dict)
    prompt: tuple[int, ...] = PROMPT

    def model(self, width: int = 64) -> Any:
        """The model that they are for; of another width, one that they do not fit."""
        model = self.random_qwen3(vocab_size=len(tiny_tokenizer()), hidden_size=width)
        model.name_or_path = "models/served"
        return model

    def save(self, folder: Path, config: peft.PeftConfig, seed: int, width: int = 64) -> Path:
        """Write an adapter that changes every answer."""
        adapted = peft.get_peft_model(self.model(width), config)
        torch.manual_seed(seed)
        for name, value in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(value, std=0.3)
        adapted.save_pretrained(str(folder))
        return folder

    def another(self, kind: str, folder: Path) -> Path:
        """An adapter like one of folders, with other weights."""
        return self.save(folder, peft.LoraConfig(task_type="CAUSAL_LM", **KINDS[kind]), 77)

    def engine(self, names: Sequence[str] = tuple(KINDS), **config: int) -> TransformersEngine:
        """An engine that offers these adapters."""
        made = TransformersEngine(self.model(), tiny_tokenizer(), TransformersEngineConfig(**config))
        for name in names:
            made.load_adapter(name, self.folders[name])
        return made

    def alone(self, folder: Path | None, prompt: Sequence[int] = PROMPT, count: int = 16) -> list[int]:
        """peft's own greedy answer with one adapter, or without."""
        model = self.model()
        if folder is not None:
            model = peft.PeftModel.from_pretrained(model, str(folder)).eval()
        ids = torch.tensor([prompt])
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=[],
            pad_token_id=0,
        )
        return output[0, len(prompt) :].tolist()  # type: ignore[no-any-return]

    def ask(self, name: str | None, prompt: Sequence[int] = PROMPT, key: str = "") -> GenerationRequest:
        """A greedy request to one adapter, or to the model itself."""
        return GenerationRequest(key or str(name), tuple(prompt), GREEDY, adapter=name)

    def answers(self, engine: TransformersEngine, asked: Sequence[GenerationRequest]) -> dict[str, list[int]]:
        """The tokens of each answer, none of which failed."""
        found: dict[str, list[int]] = {one.request_id: [] for one in asked}
        for delta in engine.generate(asked):
            assert delta.error is None, delta.error
            found[delta.request_id] += delta.token_ids
        return found

    def answer(self, engine: TransformersEngine, name: str | None) -> list[int]:
        """The tokens of the answer of one adapter, asked alone."""
        return self.answers(engine, [self.ask(name)])[str(name)]


@pytest.fixture(scope="session")
def adapters(random_qwen3: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Adapters:
    made = Adapters(random_qwen3)
    root = tmp_path_factory.mktemp("adapters")
    for number, (name, kind) in enumerate(KINDS.items(), 1):
        config = peft.LoraConfig(task_type="CAUSAL_LM", **kind)
        made.folders[name] = made.save(root / name, config, number)
    return made
