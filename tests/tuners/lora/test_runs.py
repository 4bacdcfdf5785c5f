"""Runs by configuration: QLoRA as one switch, and resuming what has more state than A and B."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from swift.core.config.run import run_from_dict
from swift.core.train.record import claim_output
from swift.core.train.run import train_in_process

WORDS = "the quick brown fox jumps over a lazy dog while seven wizards brew strong coffee at dawn".split()


@pytest.fixture
def sections(tmp_path: Path) -> dict[str, dict[str, Any]]:
    draw = random.Random(1)
    rows = [
        {"prompt": " ".join(draw.choices(WORDS, k=6)), "response": " ".join(draw.choices(WORDS, k=12))}
        for _ in range(24)
    ]
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model": {"model_id": "tiny/qwen3"},
        "data": {"dataset_name": str(data), "max_length": 64},
        "train": {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 4,
            "max_steps": 4,
            "save_steps": 2,
            "learning_rate": 1e-2,
        },
        "device": {"device": "cpu"},
    }


RESUMED: dict[str, dict[str, Any]] = {
    "lora-ga": {"tuner_strategy": "lora-ga", "lora_rank": 4, "lora_ga_batches": 2},
    "adalora": {"tuner_strategy": "adalora", "init_r": 6, "target_r": 3},
    "qlora with dora": {"tuner_strategy": "qlora", "lora_rank": 4, "use_dora": True},
}


@pytest.mark.parametrize("variant", RESUMED)
def test_a_resumed_run_ends_with_the_same_bits(
    variant: str, sections: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    if "qlora" in variant:
        pytest.importorskip("bitsandbytes")
    sections["train"] |= RESUMED[variant]
    straight, output = tmp_path / "straight", tmp_path / "run"
    train_in_process(run_from_dict(sections))
    output.rename(straight)
    shutil.copytree(straight, output, ignore=shutil.ignore_patterns("checkpoint-4", "final"))
    resuming = run_from_dict({**sections, "train": {**sections["train"], "resume": True}})
    start = claim_output(resuming)
    assert start is not None and start.name == "checkpoint-2"
    train_in_process(resuming, start)
    one, two = (load_file(folder / "final" / "adapter_model.safetensors") for folder in (straight, output))
    assert one.keys() == two.keys() != set()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_qlora_is_one_switch(sections: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    sections["train"] |= {
        "tuner_strategy": "qlora",
        "lora_rank": 8,
        "lora_alpha": 16,
        "quantization_bit": 4,
        "dtype": "bfloat16",
    }
    train_in_process(run_from_dict(sections))
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < losses[0] - 0.3
    saved = load_file(tmp_path / "run" / "final" / "adapter_model.safetensors")
    assert saved and all("lora_" in name for name in saved)
    assert {value.dtype for value in saved.values()} == {torch.float32}
