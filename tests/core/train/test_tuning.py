"""What a tuner may do beyond choosing parameters, as the trainer carries it out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from swift.core.config.run import run_from_dict
from swift.core.protocols import Tuner
from swift.core.registry import Component, tuners
from swift.core.train.run import train_in_process
from swift.core.types import Batch

Sections = dict[str, dict[str, Any]]
pytestmark = pytest.mark.usefixtures("untouched_registries")


class Curious(Tuner):
    """Trains the norms, and writes down what it is shown."""

    shown: list[list[int]]
    trained: list[list[int]]
    weight = 0.0

    def __init__(self, config: Any = None) -> None:
        type(self).shown, type(self).trained = [], []

    def apply(self, model: nn.Module) -> nn.Module:
        for name, value in model.named_parameters():
            value.requires_grad_("norm" in name)
        return model

    def save(self, model: nn.Module, directory: Path) -> None:
        torch.save({k: v for k, v in model.state_dict().items() if "norm" in k}, directory / "norms.pt")

    def load(self, model: nn.Module, directory: Path, *, trainable: bool = False) -> nn.Module:
        model.load_state_dict(torch.load(directory / "norms.pt"), strict=False)
        return model

    def merge(self, model: nn.Module) -> nn.Module:
        return model

    def penalty(self, model: nn.Module) -> torch.Tensor | None:
        if not self.weight:
            return None
        squares = [value.square().sum() for value in model.parameters() if value.requires_grad]
        return self.weight * torch.stack(squares).sum()


class Looking(Curious):
    """Also looks at the first batches, and draws random numbers while it does."""

    def batches_wanted(self) -> int:
        return 3

    def initialize(
        self, model: nn.Module, batches: Sequence[Batch], loss: Callable[[nn.Module, Batch], torch.Tensor]
    ) -> None:
        torch.rand(100)
        for batch in batches:
            value = loss(model, batch)
            assert value.requires_grad and value.ndim == 0 and 5 < value.item() < 10
            self.shown.append(batch["input_ids"].flatten().tolist())


class Penalised(Curious):
    weight = 1e-3


def register(kind: type[Curious]) -> None:
    tuners.register(Component("curious", kind, attributes=(("adapter", False),)))


def run(sections: Sections, output: Path, **train: Any) -> list[dict[str, Any]]:
    merged = {**sections["train"], "tuner_strategy": "curious", "max_steps": 3, "save_steps": None, **train}
    train_in_process(run_from_dict({**sections, "train": {**merged, "output_dir": str(output)}}))
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def losses(rows: list[dict[str, Any]]) -> list[float]:
    return [row["loss"] for row in rows if "loss" in row]


def test_the_first_batches_are_shown_and_trained_on_all_the_same(
    sections: Sections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swift.core.train.trainer import Trainer

    seen: list[list[int]] = []
    compute = Trainer.compute_loss

    def spy(self: Any, model: Any, inputs: Batch, *rest: Any, **named: Any) -> Any:
        seen.append(inputs["input_ids"].flatten().tolist())
        return compute(self, model, inputs, *rest, **named)

    monkeypatch.setattr(Trainer, "compute_loss", spy)
    register(Curious)
    expected = losses(run(sections, tmp_path / "blind"))
    tuners.unregister("curious")
    seen.clear()
    register(Looking)
    assert losses(run(sections, tmp_path / "looking")) == expected, "looking changes nothing by itself"
    assert Looking.shown == seen[:3]
    assert len({tuple(batch) for batch in seen}) == 3


def test_a_resumed_run_does_not_look_again(sections: Sections, tmp_path: Path) -> None:
    register(Looking)
    run(sections, tmp_path / "run", save_steps=2)
    assert len(Looking.shown) == 3
    assert (tmp_path / "run" / "checkpoint-2" / "norms.pt").is_file()
    from swift.core.train.record import claim_output

    merged = {**sections["train"], "tuner_strategy": "curious", "max_steps": 5, "resume": True}
    again = run_from_dict({**sections, "train": {**merged, "output_dir": str(tmp_path / "run")}})
    start = claim_output(again)
    assert start is not None
    train_in_process(again, start)
    assert Looking.shown == []


@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_penalty_is_added_once_a_step(sections: Sections, tmp_path: Path, accumulation: int) -> None:
    size = {"per_device_train_batch_size": 8 // accumulation, "gradient_accumulation_steps": accumulation}
    register(Curious)
    plain = run(sections, tmp_path / "plain", **size)
    tuners.unregister("curious")
    register(Penalised)
    rows = run(sections, tmp_path / "run", **size)
    first, without = rows[0], plain[0]
    assert first["penalty"] > 0.1
    assert first["loss"] == pytest.approx(without["loss"] + first["penalty"], abs=1e-3)
    assert "penalty" not in without
    assert first["grad_norm"] != without["grad_norm"]
    last = [row for row in rows if "penalty" in row][-1]
    assert last["penalty"] < first["penalty"], "it is minimised"
