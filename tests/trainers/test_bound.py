"""Trainers by name: the signatures people know, on models that live in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from swift.core.config.schema import ModelConfig
from swift.core.errors import ConfigError
from swift.core.models.load import load_model, load_tokenizer
from swift.trainers import DPOTrainer, GRPOTrainer, SFTTrainer

TINY = ModelConfig(model_id="tiny/qwen3")


@pytest.fixture
def model() -> Any:
    return load_model(TINY, dtype=torch.float32, device="cpu")


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=2, learning_rate=1e-3,
        use_cpu=True, report_to="none", logging_steps=1, save_strategy="no",
    )  # fmt: skip


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_sft(model: Any, arguments: TrainingArguments) -> None:
    rows = [{"prompt": f"say {number}", "response": str(number)} for number in range(8)]
    trainer = SFTTrainer(model, arguments, rows, processing_class=load_tokenizer(TINY))
    trainer.train()
    assert len(logged(trainer, "loss")) == 2


def test_dpo_starts_at_log_two(model: Any, arguments: TrainingArguments) -> None:
    rows = [{"prompt": "say", "chosen": str(number), "rejected": str(-number)} for number in range(1, 9)]
    trainer = DPOTrainer(model, arguments, rows, processing_class=load_tokenizer(TINY), beta=0.1)
    trainer.train()
    assert logged(trainer, "loss")[0] == pytest.approx(0.6931, abs=1e-3), "policy and reference are equal"


def test_grpo_word_for_word(model: Any, arguments: TrainingArguments) -> None:
    """The call of the design: model, ref_model, reward_model, train_dataset, args, beta, gamma."""
    ref_model = load_model(TINY, dtype=torch.float32, device="cpu")
    seen: list[int] = []

    def rm(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        seen.append(len(completions))
        return [float(len(text) % 3) for text in completions]

    ds = [{"prompt": f"say {number}"} for number in range(8)]
    training_args = arguments
    before = model.lm_head.weight.detach().clone()
    trainer = GRPOTrainer(
        model=model, ref_model=ref_model, reward_model=rm, train_dataset=ds, args=training_args,
        beta=0.1, gamma=0.95,
        processing_class=load_tokenizer(TINY), max_completion_length=6, num_generations=4,
    )  # fmt: skip
    trainer.train()
    assert seen == [8, 8], "two prompts a step, four completions each"
    assert logged(trainer, "reward") and logged(trainer, "kl")[0] == pytest.approx(0.0, abs=1e-6)
    assert not torch.equal(before, model.lm_head.weight)


def test_a_misspelt_setting_names_the_nearest(model: Any, arguments: TrainingArguments) -> None:
    with pytest.raises(ConfigError, match="'beta'"):
        DPOTrainer(model, arguments, [], processing_class=load_tokenizer(TINY), betta=0.1)
