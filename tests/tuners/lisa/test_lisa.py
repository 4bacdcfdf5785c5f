"""The tuner lisa: full training through the callback of that name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from swift.core.config.run import run_from_dict
from swift.core.errors import ConfigError
from swift.core.models.layers import decoder_layers
from swift.core.train.callbacks.lisa import draw
from swift.core.train.run import train_in_process

LAYERS = 4  # of tiny/qwen3


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    words = "one two three four five six seven eight".split()
    chats = [{"prompt": f"say {word}", "response": f"{word} it is"} for word in words]
    path.write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    return path


def run(rows: Path, output: Path, resume_from: Path | None = None, **train: Any) -> dict[str, Tensor]:
    settings = {
        "output_dir": str(output), "tuner_strategy": "lisa", "lisa_activated_layers": 1,
        "lisa_step_interval": 2, "max_steps": 4, "save_steps": 1, "save_total_limit": None,
        "learning_rate": 0.01, "lr_scheduler_type": "constant", "progress": False, **train,
    }  # fmt: skip
    data = {"dataset_name": str(rows), "max_length": 64}
    train_in_process(run_from_dict({"data": data, "train": settings}), resume_from)
    return load_file(output / "final" / "model.safetensors")


def moved(one: dict[str, Tensor], two: dict[str, Tensor]) -> set[str]:
    assert one.keys() == two.keys()
    return {name for name, value in one.items() if not torch.equal(value, two[name])}


def test_drawn_layers_move_and_a_resumed_run_goes_on_with_the_draw(rows: Path, tmp_path: Path) -> None:
    final = run(rows, tmp_path / "straight")
    saved = [load_file(tmp_path / f"straight/checkpoint-{step}/model.safetensors") for step in range(1, 5)]
    for step in range(1, 4):
        names = moved(saved[step - 1], saved[step])
        layers = {int(name.split(".layers.")[1].split(".")[0]) for name in names if ".layers." in name}
        assert layers == set(draw(42, step // 2, LAYERS, 1))
        assert {"model.embed_tokens.weight", "model.norm.weight"} <= names
    states = torch.load(tmp_path / "straight/checkpoint-4/optimizer.pt", weights_only=True)["state"]
    per_layer = len([name for name in final if ".layers.0." in name])
    assert len(states) == len(final) - (LAYERS - 1) * per_layer, "the state of layers that left is freed"
    resumed = run(rows, tmp_path / "resumed", tmp_path / "straight/checkpoint-3")
    assert not moved(final, resumed)


def test_too_many_layers_and_a_second_lisa_are_refused(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="active_layers=4 of 4 layers"):
        run(rows, tmp_path / "many", lisa_activated_layers=4)
    with pytest.raises(ConfigError, match=r"is there twice[\s\S]*leave it out of train.callbacks"):
        run(rows, tmp_path / "twice", callbacks="lisa")


def test_layers_are_told_from_other_lists() -> None:
    from transformers import MixtralConfig, Qwen2VLConfig
    from transformers.models.auto import modeling_auto

    sizes: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
    vision = {"depth": 3, "embed_dim": 16, "num_heads": 2, "hidden_size": 32, "mlp_ratio": 2}
    both = Qwen2VLConfig(text_config={**sizes, "rope_parameters": rope}, vision_config=vision)
    model = modeling_auto.AutoModelForImageTextToText.from_config(both)
    path, layers = decoder_layers(model)
    assert path == "model.language_model.layers", "not the vision tower, which is as deep"
    assert len(layers) == 3
    mixture = modeling_auto.AutoModelForCausalLM.from_config(MixtralConfig(**sizes, num_local_experts=8))
    assert decoder_layers(mixture)[0] == "model.layers"
    torch_only = torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Linear(2, 2)] * 2), torch.nn.ReLU())
    assert decoder_layers(torch_only)[0] == "0"
