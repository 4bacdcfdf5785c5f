"""Supervised fine-tuning with images, from rows on disk to a folder that loads again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from swift.core.config.run import run_from_dict
from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_model, load_processor
from swift.core.train.run import train_in_process

STEPS = 30


def losses(output: Path) -> list[float]:
    reports = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return [report["loss"] for report in reports if "loss" in report]


def trained(rows: Path, output: Path, data: dict[str, Any] | None = None, **train: Any) -> Path:
    result = train_in_process(
        run_from_dict(
            {
                "model": {"model_id": "tiny/qwen2.5-vl"},
                "data": {"dataset_name": str(rows), "max_length": 256, **(data or {})},
                "train": {
                    "stage": "sft", "output_dir": str(output), "max_steps": STEPS, "learning_rate": 3e-3,
                    "per_device_train_batch_size": 4, "progress": False, **train,
                },
                "device": {"device": "cpu"},
            }
        )
    )  # fmt: skip
    assert result.final_dir is not None
    return result.final_dir


def test_full_training_learns_moves_the_vision_tower_and_reloads(image_rows: Path, tmp_path: Path) -> None:
    final = trained(image_rows, tmp_path)
    seen = losses(tmp_path)
    assert len(seen) == STEPS and sum(seen[-3:]) / 3 < 0.5 * seen[0]
    config = ModelConfig.model_validate({"model_id": str(final)})
    model = load_model(config, dtype=torch.float32, device="cpu")
    base = ModelConfig.model_validate({"model_id": "tiny/qwen2.5-vl"})
    start = load_model(base, dtype=torch.float32, device="cpu")
    moved = [
        not torch.equal(new, old)
        for (name, new), old in zip(model.named_parameters(), start.parameters(), strict=True)
        if "visual" in name and new.dim() > 1
    ]
    assert moved and all(moved)
    processor = load_processor(config)
    assert processor.image_token == "<|image_pad|>" and processor.image_processor.merge_size == 2


@pytest.mark.parametrize("layout", [{}, {"packing": True}])
def test_adapters_learn_in_every_batch_layout(
    image_rows: Path, tmp_path: Path, layout: dict[str, bool]
) -> None:
    final = trained(image_rows, tmp_path, layout, tuner_strategy="lora", lora_rank=8, max_steps=10)
    seen = losses(tmp_path)
    assert seen[-1] < seen[0] - 0.5
    weights = load_file(final / "adapter_model.safetensors")
    assert any(value.any() for name, value in weights.items() if "lora_B" in name and "visual" in name)
    assert (final / "processor_config.json").exists()
