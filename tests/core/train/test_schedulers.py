"""Registered schedules in a run, and arguments of schedules that mean nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, LRScheduler, ReduceLROnPlateau

from swift.core.config.run import run_from_dict
from swift.core.config.schema import OptimConfig
from swift.core.errors import ConfigError, PluginError
from swift.core.registry import schedulers
from swift.core.train.check import check_names
from swift.core.train.run import train_in_process
from swift.core.train.schedule import check_schedule
from swift.plugin import register_scheduler

Sections = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    before = schedulers.registered()
    yield
    schedulers.restore(before)


def rates(
    sections: Sections, output: Path, name: str, resume_from: Path | None = None, **kwargs: Any
) -> list[float]:
    """Learning rates of 6 steps with 2 of warm-up, as reported."""
    train = {"output_dir": str(output), "max_steps": 6, "save_steps": 3, "warmup_steps": 2}
    chosen = {"lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs}
    changed = {**sections, "train": {**sections["train"], **train, **chosen}}
    assert train_in_process(run_from_dict(changed), resume_from).final_dir is not None
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line["learning_rate"] for line in lines if "learning_rate" in line]


def test_a_function_of_the_step_and_its_resume(sections: Sections, tmp_path: Path) -> None:
    @register_scheduler("steps_down")
    def steps_down(step: int, num_training_steps: int, num_warmup_steps: int, floor: float = 0.0) -> float:
        if step < num_warmup_steps:
            return (step + 1) / num_warmup_steps
        return floor + (1 - floor) * (num_training_steps - step) / num_training_steps

    seen = rates(sections, tmp_path / "straight", "steps_down", floor=0.25)
    factors = [0.5, 1.0, 0.25 + 0.75 * 4 / 6, 0.25 + 0.75 * 3 / 6, 0.25 + 0.75 * 2 / 6, 0.25 + 0.75 / 6]
    assert seen == pytest.approx([1e-3 * factor for factor in factors])
    start = tmp_path / "straight" / "checkpoint-3"
    assert rates(sections, tmp_path / "resumed", "steps_down", start, floor=0.25) == seen[3:]
    one, two = (
        load_file(tmp_path / name / "final" / "model.safetensors") for name in ("straight", "resumed")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_class_of_torch_and_a_factory(sections: Sections, tmp_path: Path) -> None:
    register_scheduler("exponential")(ExponentialLR)

    @register_scheduler("half")
    def half(optimizer: Optimizer, num_training_steps: int, **kwargs: Any) -> LRScheduler:
        assert kwargs == {"num_warmup_steps": 2}
        return LambdaLR(optimizer, lambda step: 1.0 if step < num_training_steps // 2 else 0.5)

    assert rates(sections, tmp_path / "one", "exponential", gamma=0.5) == pytest.approx(
        [1e-3 * 0.5**step for step in range(6)]
    )
    assert rates(sections, tmp_path / "two", "half") == pytest.approx([1e-3] * 3 + [0.5e-3] * 3)


def check(name: str, evaluates: bool = False, **kwargs: Any) -> None:
    config = OptimConfig.model_validate({"lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs})
    check_schedule(config, 10, evaluates)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("cosine", {"num_cycle": 2}, r"no argument 'num_cycle'[\s\S]*its arguments: num_cycles"),
        ("cosine", {"num_cycles": "two"}, "does not fit train.lr_scheduler_type=cosine"),
        ("constant", {"num_cycles": 2}, "its arguments: none"),
        ("constant_with_warmup", {"power": 2}, "its arguments: none"),
        ("warmup_stable_decay", {}, "num_decay_steps"),
        ("cosine_with_min_lr", {}, "min_lr"),
        ("reduce_lr_on_plateau", {}, r"set train\.eval_steps"),
    ],
)
def test_arguments_that_a_schedule_of_transformers_does_not_take(
    name: str, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(name, **kwargs)


def test_arguments_that_fit_pass() -> None:
    check("cosine", num_cycles=0.3)
    check("cosine_with_min_lr", min_lr_rate=0.1)
    check("warmup_stable_decay", num_decay_steps=3)
    check("reduce_lr_on_plateau", evaluates=True, patience=2)
    check_names(run_from_dict({"train": {"lr_scheduler_type": "polynomial", "warmup_steps": 0.1}}))


def test_what_breaks_the_contract_is_refused_before_the_run() -> None:
    @register_scheduler("silent")
    def silent(step: int) -> None: ...

    @register_scheduler("negative")
    def negative(step: int) -> float:
        return 1.0 - step

    @register_scheduler("fails_late")
    def fails_late(step: int, num_training_steps: int) -> float:
        return 1.0 / (num_training_steps - step)

    @register_scheduler("none")
    def none(optimizer: Optimizer) -> None: ...

    @register_scheduler("plateau")
    def plateau(optimizer: Optimizer) -> LRScheduler:
        return ReduceLROnPlateau(optimizer)

    class Odd:
        pass

    @register_scheduler("odd_state")
    class OddState(ExponentialLR):
        def __init__(self, optimizer: Optimizer) -> None:
            super().__init__(optimizer, 0.9)
            self.odd = Odd()

    here = __file__.replace("\\", "\\\\")
    with pytest.raises(PluginError, match=rf"'silent' \({here}:\d+\) returned None at step 0"):
        check("silent")
    with pytest.raises(PluginError, match=r"returned -1\.0 at step 2"):
        check("negative")
    with pytest.raises(PluginError, match="failed at step 10: ZeroDivisionError"):
        check("fails_late")
    with pytest.raises(PluginError, match="made a NoneType"):
        check("none")
    with pytest.raises(PluginError, match="made a ReduceLROnPlateau"):
        check("plateau")
    with pytest.raises(PluginError, match="state that a checkpoint cannot hold"):
        check("odd_state")
    with pytest.raises(PluginError, match=r"does not take the arguments .*'gamma'"):
        check("negative", gamma=1)
    with pytest.raises(ConfigError, match="did you mean 'negative'"):
        check_names(run_from_dict({"train": {"lr_scheduler_type": "negativ"}}))
