"""Reports reach transformers' integrations, and lie where the run lies."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from swift.core.config.run import run_from_dict
from swift.core.train.reporting import environment, reporting
from swift.core.train.run import train_in_process

Sections = dict[str, dict[str, Any]]


def test_tensorboard_has_every_figure_of_the_metrics_file(
    sections: Sections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    output = tmp_path / "run"
    train = {**sections["train"], "output_dir": str(output), "max_steps": 4, "report_to": ["tensorboard"]}
    data = {**sections["data"], "split_ratio": 0.2}
    train_in_process(run_from_dict({**sections, "train": train, "data": data}))
    events = loader.EventAccumulator(str(output / "tensorboard")).Reload()
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    for written, name in [
        ("train/loss", "loss"),
        ("train/tokens_per_second", "tokens_per_second"),
        ("train/peak_memory_bytes", "peak_memory_bytes"),
        ("eval/loss", "eval_loss"),
    ]:
        expected = {line["step"]: line[name] for line in lines if name in line}
        found = {event.step: event.value for event in events.Scalars(written)}
        assert expected and found == pytest.approx(expected), name
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


def test_names_and_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    monkeypatch.setenv("WANDB_DIR", "/mine")
    monkeypatch.setenv("WANDB_PROJECT", "old")
    train = {"output_dir": str(tmp_path), "report_to": "tensorboard", "project": "new"}
    run = run_from_dict({"train": train})
    values = environment(run)
    assert "WANDB_DIR" not in values, "what is set already stays"
    assert values["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tensorboard")
    with reporting(run):
        assert {os.environ[name] for name in ("WANDB_PROJECT", "SWANLAB_PROJECT")} == {"new"}
        assert os.environ["MLFLOW_EXPERIMENT_NAME"] == "new"
    assert os.environ["WANDB_PROJECT"] == "old"
    assert "MLFLOW_EXPERIMENT_NAME" not in os.environ
