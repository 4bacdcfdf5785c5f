"""Every tuner in the real trainer: the loss falls, only what trains moves, a resumed run is the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from swift.core.config.run import RunConfig, run_from_dict
from swift.core.errors import SwiftError
from swift.core.train.checkpoint import step_of
from swift.core.train.parts import Parts, load_parts
from swift.core.train.run import build_trainer
from swift.core.train.trainer import Trainer

Weights = dict[str, torch.Tensor]


class Watch(TrainerCallback):  # type: ignore[misc]
    """What stands before the first step, and which parameters train in any step."""

    def __init__(self) -> None:
        self.before: Weights = {}
        self.trained: set[str] = set()

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if not self.before:
            self.before = weights_of(model)
        self.trained |= {name for name, value in model.named_parameters() if value.requires_grad}


@dataclass
class Ran:
    """A run that has ended."""

    losses: list[float]
    after: Weights
    watch: Watch
    parts: Parts


def weights_of(model: Any) -> Weights:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def trained(run: RunConfig, resume_from: Path | None = None) -> Ran:
    """One run up to its last step, from freshly loaded parts."""
    torch.manual_seed(0)
    device = torch.device("cpu")
    parts = load_parts(run, device)
    watch = Watch()
    trainer: Trainer
    trainer, _ = build_trainer(run, parts, device, resume_from, [watch])
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Ran(losses, weights_of(parts.model), watch, parts)


@pytest.fixture(scope="module")
def straight(case: Any, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """The run's folder and the run: 6 steps, a checkpoint after 3."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, trained(run_from_dict(case.sections(folder, rows)))


def test_loss_falls(case: Any, straight: tuple[Path, Ran]) -> None:
    losses = straight[1].losses
    assert len(losses) == 6
    assert losses[-1] < losses[0] * 0.98, losses


def test_only_what_trains_moves(case: Any, straight: tuple[Path, Ran]) -> None:
    ran = straight[1]
    assert ran.watch.trained
    before, after = ran.watch.before, ran.after
    assert before.keys() == after.keys()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved
    assert moved <= ran.watch.trained


def test_resumed_run_is_the_same(case: Any, straight: tuple[Path, Ran], rows: Path, tmp_path: Path) -> None:
    folder, ran = straight
    checkpoint = folder / "checkpoint-3"
    assert step_of(checkpoint) == 3
    again = trained(run_from_dict(case.sections(tmp_path, rows)), checkpoint)
    assert again.losses[-3:] == ran.losses[3:]
    assert again.after.keys() == ran.after.keys()
    different = [name for name, value in ran.after.items() if not torch.equal(value, again.after[name])]
    assert not different


def test_bfloat16_trains(case: Any, rows: Path, tmp_path: Path) -> None:
    sections = case.sections(tmp_path, rows, dtype="bfloat16", max_steps=4, save_steps=None)
    losses = trained(run_from_dict(sections)).losses
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0], losses


def test_packing_is_refused_where_it_would_mix_samples(case: Any, rows: Path, tmp_path: Path) -> None:
    if case.attributes["packs"]:
        return  # packed equals unpacked: test_contract.py
    sections = case.sections(tmp_path, rows)
    sections["data"]["packing"] = True
    with pytest.raises(SwiftError, match="packing"):
        trained(run_from_dict(sections))
