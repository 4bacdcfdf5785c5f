"""Whole runs on mixed, filtered, cached data in length groups."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from swift.core.config.run import run_from_dict
from swift.core.data.collate import collate_padded
from swift.core.train.run import train_in_process
from swift.core.types import Batch, Encoded

WORDS = "the quick brown fox jumps over a lazy dog while seven wizards brew strong coffee at dawn".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of unequal lengths."""
    draw = random.Random(1)
    folder = tmp_path_factory.mktemp("sets")
    for name in ("one", "two"):
        rows = [
            {"prompt": draw.choice(WORDS), "response": " ".join(draw.choices(WORDS, k=draw.randint(1, 40)))}
            for _ in range(40)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def train(output: Path, resume_from: Path | None = None, **data: Any) -> list[dict[str, Any]]:
    sections = {
        "model": {"model_id": "tiny/qwen3"},
        "data": {"max_length": 256, **data},
        "train": {
            "output_dir": str(output), "per_device_train_batch_size": 4, "max_steps": 8, "save_steps": 5,
            "learning_rate": 1e-3, "progress": False,
        },
        "device": {"device": "cpu"},
    }  # fmt: skip
    train_in_process(run_from_dict(sections), resume_from)
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def losses(reports: list[dict[str, Any]]) -> dict[int, float]:
    return {report["step"]: report["loss"] for report in reports if "loss" in report}


def test_a_resumed_run_goes_on_exactly_whatever_the_mixture(folder: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "dataset_name": [f"{folder}:one#30", f"{folder}:two"],
        "weights": [1, 2],
        "stopping_strategy": "all_exhausted",
        "group_by_length": True,
        "cache_dir": str(tmp_path / "cache"),
    }
    whole = losses(train(tmp_path / "whole", **settings))
    resumed = losses(train(tmp_path / "resumed", tmp_path / "whole" / "checkpoint-5", **settings))
    assert sorted(whole) == list(range(1, 9))
    assert {step: whole[step] for step in (6, 7, 8)} == {step: resumed[step] for step in (6, 7, 8)}
    record = json.loads((tmp_path / "resumed" / "run.json").read_text())
    assert record["data"]["cache"]["hit"] is True
    assert [source["rows_drawn"] for source in record["data"]["sources"]] == [30, 40]


def test_length_groups_train_on_less_padding(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[float] = []

    def collate(examples: Sequence[Encoded], pad_id: int) -> Batch:
        batch = collate_padded(examples, pad_id)
        widths.append(float(batch["attention_mask"].float().mean()))
        return batch

    monkeypatch.setattr("swift.core.objectives.causal_lm.collate_padded", collate)
    fills = []
    for grouped in (False, True):
        widths.clear()
        train(tmp_path / str(grouped), dataset_name=f"{folder}:one/two", group_by_length=grouped)
        fills.append(sum(widths) / len(widths))
    assert fills[0] < 0.75 < 0.85 < fills[1]
