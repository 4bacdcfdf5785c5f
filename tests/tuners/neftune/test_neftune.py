"""Noise on embeddings: its size for each sample, in training alone, and none in what is saved."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from swift.core.config.run import run_from_dict
from swift.core.errors import ConfigError
from swift.core.train.callbacks.neftune import Neftune, noise_like, sample_lengths
from swift.core.train.extensible import ExtensibleTrainer
from swift.core.train.parts import load_parts
from swift.core.train.run import build_trainer, train_in_process

ALPHA, WIDTH = 5.0, 128  # of tiny/qwen3


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chats of unequal length."""
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    chats = [{"prompt": f"say {n} times", "response": "yes, again! " * n} for n in (1, 2, 5, 9)]
    path.write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    return path


def sections(rows: Path, output: Path, data: dict[str, Any] | None = None, **train: Any) -> dict[str, Any]:
    return {
        "data": {"dataset_name": str(rows), "max_length": 128, **(data or {})},
        "train": {
            "output_dir": str(output), "max_steps": 2, "progress": False, "learning_rate": 1e-3,
            "neftune_noise_alpha": ALPHA, **train,
        },
    }  # fmt: skip


def test_magnitude_is_that_of_each_sample() -> None:
    embedded = torch.zeros(1, 14, WIDTH)
    lengths = sample_lengths({"cu_seq_lens_q": torch.tensor([0, 9, 10, 14], dtype=torch.int32)})
    assert lengths is not None
    assert lengths.tolist() == [[9] * 9 + [1] + [4] * 4]
    noise = noise_like(embedded, lengths, ALPHA)[0]
    for sample, length in zip(noise.split([9, 1, 4]), (9, 1, 4), strict=True):
        bound = ALPHA / math.sqrt(length * WIDTH)
        assert 0.9 * bound < float(sample.abs().max()) <= bound
        assert float(sample.norm()) == pytest.approx(ALPHA / math.sqrt(3), rel=0.2)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    padded = sample_lengths({"attention_mask": mask})
    assert padded is not None
    assert padded.tolist() == [[3], [1]]
    assert sample_lengths({"input_ids": mask}) is None
    whole = noise_like(torch.zeros(2, 4, WIDTH), None, ALPHA)
    assert 0.9 < float(whole.abs().max()) * math.sqrt(4 * WIDTH) / ALPHA <= 1.0


class Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """What leaves the embeddings, less what is stored in them."""

    def __init__(self, model: Any) -> None:
        self.noise: list[tuple[bool, Tensor, Tensor]] = []
        self.model = model

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:  # after the noise's own hook
            base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
            base.get_input_embeddings().register_forward_hook(self._note)

    def _note(self, embeddings: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        stored = embeddings.weight.detach()[inputs[0]]
        self.noise.append((embeddings.training, inputs[0], (output.detach() - stored)))


@pytest.mark.parametrize("tuner", ["full", "lora", "longlora"])
@pytest.mark.parametrize("data", [{"packing": True}, {}], ids=["packed", "padded"])
def test_noise_in_training_only(tuner: str, data: dict[str, Any], rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    run = run_from_dict(
        sections(
            rows, output, {**data, "split_ratio": 0.3}, tuner_strategy=tuner, gradient_checkpointing=True
        )
    )
    torch.manual_seed(0)
    parts = load_parts(run, torch.device("cpu"))
    watch = Watch(parts.model)
    trainer, _ = build_trainer(run, parts, torch.device("cpu"), None, [watch])
    trainer.train()
    trained = [(tokens, noise) for training, tokens, noise in watch.noise if training]
    assert len(trained) == 2, "one a step"
    assert not torch.equal(trained[0][1], trained[1][1])
    train: Any = parts.datasets.train
    lengths = (train.dataset if data else train).lengths
    bound = ALPHA / math.sqrt(min(lengths) * WIDTH)
    assert len(set(lengths)) > 1
    for _, noise in trained:
        assert 0.9 * bound < float(noise.abs().max()) <= 1.001 * bound, "the shortest sample has the largest"
    trainer.evaluate()
    measured = [noise for training, _, noise in watch.noise if not training]
    assert measured
    assert not any(noise.any() for noise in measured)
    handles = parts.model._forward_pre_hooks
    assert not any(getattr(hook, "__self__", None).__class__ is Neftune for hook in handles.values())


def test_a_run_saves_a_plain_model_and_repeats_itself(rows: Path, tmp_path: Path) -> None:
    weights = []
    for name, alpha in (("one", ALPHA), ("two", ALPHA), ("none", None)):
        settings = sections(rows, tmp_path / name, neftune_noise_alpha=alpha, save_steps=1)
        train_in_process(run_from_dict(settings))
        weights.append(load_file(tmp_path / name / "final" / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys() == weights[2].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])
    resumed = sections(rows, tmp_path / "resumed")
    train_in_process(run_from_dict(resumed), tmp_path / "one" / "checkpoint-1")
    again = load_file(tmp_path / "resumed" / "final" / "model.safetensors")
    assert all(torch.equal(weights[0][key], again[key]) for key in again), "the same noise"


def test_what_transformers_would_do_is_replaced(tmp_path: Path) -> None:
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), neftune_noise_alpha=7.0, report_to="none", use_cpu=True
    )
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.LlamaConfig(
            vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
        )
    )
    trainer = ExtensibleTrainer(model=model, args=arguments)
    assert [callback.alpha for callback in trainer.own_callbacks if isinstance(callback, Neftune)] == [7.0]
    assert trainer.neftune_noise_alpha is None
    with pytest.raises(ConfigError, match="Linear shows no input embeddings"):
        ExtensibleTrainer(model=nn.Linear(2, 2), args=arguments)


def test_bad_values(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neftune_noise_alpha"):
        run_from_dict(sections(rows, tmp_path, neftune_noise_alpha=-1))
    with pytest.raises(ConfigError, match="above 0"):
        Neftune(0.0)
