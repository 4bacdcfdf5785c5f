"""The loss of a step does not depend on how the step is cut up, and reports say what happened."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from swift.core.config.run import run_from_dict
from swift.core.errors import ConfigError
from swift.core.registry import losses
from swift.core.train.evaluate import evaluate_loss
from swift.core.train.parts import load_parts
from swift.core.train.record import METRICS_FILE, RUN_FILE
from swift.core.train.result import TrainResult
from swift.core.train.run import train_in_process

Sections = dict[str, dict[str, Any]]


def train(sections: Sections, output: Path, **changes: dict[str, Any]) -> TrainResult:
    merged = {name: {**sections.get(name, {}), **changes.get(name, {})} for name in {*sections, *changes}}
    merged["train"] |= {"output_dir": str(output), "max_steps": changes.get("train", {}).get("max_steps", 4)}
    return train_in_process(run_from_dict(merged))


def reports(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / METRICS_FILE).read_text().splitlines()]


def losses_of(output: Path) -> list[float]:
    return [row["loss"] for row in reports(output) if "loss" in row]


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}},
        {"data": {"padding_free": True}, "train": {"per_device_train_batch_size": 8}},
        {
            "data": {"padding_free": True},
            "train": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
        },
        {"train": {"per_device_train_batch_size": 8, "gradient_checkpointing": True}},
    ],
    ids=["accumulation", "padding-free", "padding-free accumulation", "gradient checkpointing"],
)
def test_the_layout_of_a_step_does_not_change_it(sections: Sections, tmp_path: Path, changes: Any) -> None:
    train(sections, tmp_path / "plain", train={"per_device_train_batch_size": 8})
    train(sections, tmp_path / "other", **changes)
    plain, other = reports(tmp_path / "plain"), reports(tmp_path / "other")
    for one, two in zip(plain, other, strict=True):
        assert one.get("loss", 0) == pytest.approx(two.get("loss", 0), abs=2e-5)
        assert one.get("grad_norm", 0) == pytest.approx(two.get("grad_norm", 0), rel=1e-3)


def test_every_report_has_the_promised_figures(sections: Sections, tmp_path: Path) -> None:
    result = train(sections, tmp_path / "run")
    first = reports(tmp_path / "run")[0]
    promised = {"step", "loss", "learning_rate", "grad_norm", "tokens_per_second"}
    assert promised | {"supervised_tokens_per_second", "peak_memory_bytes"} <= first.keys()
    assert first["loss"] == pytest.approx(math.log(2048), abs=1.0), "random weights know nothing"
    assert 0 < first["supervised_tokens_per_second"] < first["tokens_per_second"]
    assert first["peak_memory_bytes"] > 10_000_000
    assert losses_of(tmp_path / "run")[-1] < first["loss"]
    record = json.loads((tmp_path / "run" / RUN_FILE).read_text())
    assert record["status"] == "finished"
    assert record["resolved"]["learning_rate"] == 1e-3
    assert len(record["data"]["sources"][0]["fingerprint"]) == 64
    assert {"torch", "swift-core"} <= record["packages"].keys()
    assert result.final_dir is not None
    assert (result.final_dir / "model.safetensors").exists()
    assert not (result.final_dir / "optimizer.pt").exists()


def test_a_recorded_run_reads_back(sections: Sections, tmp_path: Path) -> None:
    train(sections, tmp_path / "run")
    record = json.loads((tmp_path / "run" / RUN_FILE).read_text())
    again = run_from_dict(record["config"])
    assert again.to_dict() == record["config"]


def test_evaluation_weighs_tokens_not_batches(sections: Sections) -> None:
    run = run_from_dict({**sections, "data": {**sections["data"], "split_ratio": 0.25}})
    parts = load_parts(run, torch.device("cpu"))
    held_out: Any = parts.datasets.evaluation

    def mean(batch_size: int) -> float:
        figures = evaluate_loss(
            parts.model, parts.objective, held_out, batch_size=batch_size, device=torch.device("cpu")
        )
        return figures["loss"]

    total = count = 0.0
    for index in range(len(held_out)):
        batch = parts.objective.collate([held_out[index]])
        units = parts.objective.count(batch)
        total += parts.objective.loss(parts.model, batch, units).loss.item() * units.item()
        count += units.item()
    assert mean(1) == pytest.approx(total / count, rel=1e-6)
    assert mean(5) == pytest.approx(total / count, rel=1e-5)


def test_evaluation_during_and_after_training(sections: Sections, tmp_path: Path) -> None:
    result = train(sections, tmp_path / "run", data={"split_ratio": 0.2}, train={"eval_steps": 2})
    evaluated = [row["step"] for row in reports(tmp_path / "run") if "eval_loss" in row]
    assert evaluated == [2, 4], "the last step is not evaluated twice"
    assert result.figures["eval_loss"] > 0


def test_a_plugin_loss_equal_to_cross_entropy_trains_equally(sections: Sections, tmp_path: Path) -> None:
    plugin = tmp_path / "my_loss.py"
    plugin.write_text(
        "import torch\nfrom swift.plugin import register_loss\n\n"
        "@register_loss('scaled_ce')\nclass Scaled(torch.nn.Module):\n"
        "    def __init__(self, factor=1.0):\n        super().__init__()\n        self.factor = factor\n"
        "    def forward(self, inputs, targets):\n"
        "        return self.factor * torch.nn.functional.cross_entropy(inputs, targets)\n"
    )
    try:
        train(sections, tmp_path / "plain")
        train(sections, tmp_path / "same", plugins={"load": [str(plugin)]}, train={"loss_type": "scaled_ce"})
        train(
            sections,
            tmp_path / "half",
            plugins={"load": [str(plugin)]},
            train={"loss_type": "scaled_ce", "loss_config": {"factor": 0.5}},
        )
    finally:
        losses.unregister("scaled_ce")
    assert losses_of(tmp_path / "same") == pytest.approx(losses_of(tmp_path / "plain"), abs=1e-5)
    assert losses_of(tmp_path / "half")[0] == pytest.approx(losses_of(tmp_path / "plain")[0] / 2, abs=1e-5)


def test_learning_rate_default_depends_on_what_trains(sections: Sections) -> None:
    from swift.core.train.arguments import learning_rate

    plain = {**sections, "train": {"output_dir": "unused"}}
    assert learning_rate(run_from_dict(plain)) == 1e-5
    assert learning_rate(run_from_dict({**plain, "train": {"tuner_strategy": "lora"}})) == 1e-4
    assert learning_rate(run_from_dict({**plain, "train": {"learning_rate": 3e-4}})) == 3e-4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"streaming": True}, "train": {"max_steps": -1}}, "train.max_steps"),
        ({"model": {"adapter": "somewhere"}}, "train.tuner_strategy=lora"),
        ({"device": {"device": "cuda"}}, "device.device=cpu"),
        ({"train": {"dtype": "float16"}}, "bfloat16"),
        ({"train": {"optim": "adamw_troch"}}, "adamw_torch"),
        ({"train": {"lr_scheduler_type": "cosin"}}, "cosine"),
        ({"train": {"report_to": "tensorbord"}}, "tensorboard"),
        ({"train": {"report_to": "dvclive"}}, "pip install dvclive"),
        ({"train": {"eval_steps": 2}}, "data.split_ratio"),
        ({"eval": {"metrics": "exact_match"}}, "data.val_dataset_name"),
    ],
)
def test_contradictions_are_refused(sections: Sections, tmp_path: Path, changes: Any, words: str) -> None:
    if "device" in changes and torch.cuda.is_available():
        changes = {"train": {"dtype": "float16"}, "device": {"device": "cpu"}}
        words = "bfloat16"
    with pytest.raises(ConfigError, match=words):
        train(sections, tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "final").exists()


def test_streaming_trains(sections: Sections, tmp_path: Path) -> None:
    train(sections, tmp_path / "run", data={"streaming": True})
    assert len(losses_of(tmp_path / "run")) == 4
