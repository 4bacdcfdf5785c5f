"""Small tasks that a tiny model learns in seconds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from swift.core.config.run import run_from_dict
from swift.core.train.result import TrainResult
from swift.core.train.run import train_in_process

Row = dict[str, Any]
WORDS = "red green blue dog cat sun moon tree".split()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Rows to a JSON-lines file; its path."""

    def write(rows: Iterable[Row], name: str = "rows") -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., TrainResult]:
    """Train tiny/qwen3 on a file; sections given by name change the run."""

    def train(task: str, file: str, output: str = "run", **changes: Any) -> TrainResult:
        sections: dict[str, Any] = {
            "model": {"model_id": "tiny/qwen3"},
            "data": {"dataset_name": file, "task_type": task, "max_length": 128, "split_ratio": 0.2},
            "train": {
                "output_dir": str(tmp_path / output),
                "per_device_train_batch_size": 8,
                "learning_rate": 1e-3,
                "max_steps": 25,
                "progress": False,
            },
            "eval": {},
        }
        for section, keys in changes.items():
            sections[section] = keys if isinstance(keys, list) else {**sections[section], **keys}
        return train_in_process(run_from_dict(sections))

    return train


@pytest.fixture(scope="session")
def labelled() -> list[Row]:
    """Texts of four words; their labels say which of the first three words they hold."""
    draw = random.Random(0)
    texts = [draw.sample(WORDS, 4) for _ in range(160)]
    return [{"text": " ".join(text), "label": [int(word in text) for word in WORDS[:3]]} for text in texts]


@pytest.fixture(scope="session")
def related() -> list[Row]:
    """Queries for a word, a text about it and one about another."""
    draw = random.Random(1)
    rows = []
    for _ in range(150):
        wanted, other = draw.sample(WORDS, 2)
        rows.append({"query": f"find {wanted}", "positive": f"about {wanted}", "negative": f"about {other}"})
    return rows
