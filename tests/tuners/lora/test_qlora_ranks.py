"""QLoRA as one switch, on two ranks from the command line, as on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from swift.core.config.run import run_from_dict
from swift.core.train.run import train_in_process

COMMAND = [sys.executable, "-c", "from swift.core.cli import main; main()"]
ROWS = [
    {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n} it is, {n}."}]}
    for n in range(8)
]


def run_of(rows: Path, output: Path, batch_size: int, **device: Any) -> dict[str, Any]:
    """The keys of the design, with a tiny model in the place of a large one."""
    return {
        "model": {"model_id": "tiny/qwen3"},
        "data": {"dataset_name": str(rows)},
        "train": {
            "tuner_strategy": "qlora", "lora_rank": 8, "lora_alpha": 16, "quantization_bit": 4,
            "dtype": "bfloat16", "max_steps": 4, "learning_rate": 1e-2, "output_dir": str(output),
            "per_device_train_batch_size": batch_size,
        },
        "device": device,
    }  # fmt: skip


def losses(output: Path) -> list[float]:
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry["loss"] for line in lines if "loss" in (entry := json.loads(line))]


@pytest.mark.timeout(300)
def test_four_bits_on_two_ranks(tmp_path: Path) -> None:
    rows, config = tmp_path / "rows.jsonl", tmp_path / "run.yaml"
    rows.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    alone, together = tmp_path / "alone", tmp_path / "together"
    given = run_of(rows, together, 2, parallel_method="ddp", num_gpus=2, device="cpu")
    config.write_text(yaml.safe_dump(given), encoding="utf-8")
    ended = subprocess.run(
        [*COMMAND, "sft", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    train_in_process(run_from_dict(run_of(rows, alone, 4, device="cpu")))
    assert losses(together) == pytest.approx(losses(alone), rel=0.01)
    assert losses(together)[-1] < losses(together)[0] - 0.5
    saved = load_file(together / "final" / "adapter_model.safetensors")
    assert {name.split(".")[-2] for name in saved} == {"lora_A", "lora_B"}
