"""Plugins that change or fail while a run goes on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from swift.core.config.run import run_from_dict
from swift.core.errors import PluginError
from swift.core.train.run import train_in_process

pytestmark = pytest.mark.usefixtures("untouched_registries")

# A loss that edits its own file in the middle of its third call, as a user would in an editor at that moment.
LOSS = """\
from pathlib import Path
import torch
from swift.plugin import register_loss

@register_loss("mine")
class Mine:
    def __init__(self, scale=1.0):
        self.scale, self.calls = scale, 0

    def state_dict(self):
        return {{"calls": self.calls}}

    def load_state_dict(self, state):
        self.calls = state["calls"]

    def __call__(self, inputs, targets):
        self.calls += 1
        if self.calls == {edit_at}:
            Path(__file__).write_text(Path({successor!r}).read_text())
        {body}
"""
CROSS_ENTROPY = "return self.scale * torch.nn.functional.cross_entropy(inputs, targets)"
CONSTANT = "return inputs.float().sum() * 0.0 + 1000.0 + self.calls"


@pytest.fixture
def sections(tmp_path: Path) -> dict[str, dict[str, Any]]:
    rows = [{"prompt": f"say {number}", "response": f"number {number}"} for number in range(32)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "data": {"dataset_name": str(data), "max_length": 64},
        "train": {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 6,
            "per_device_train_batch_size": 2,
            "loss_type": "mine",
        },
        "plugins": {"load": [str(tmp_path / "mine.py")], "reload": True},
    }


def write_loss(folder: Path, successor: str, edit_at: int = 3) -> None:
    """mine.py, and what it becomes."""
    (folder / "next.py").write_text(successor)
    text = LOSS.format(edit_at=edit_at, successor=str(folder / "next.py"), body=CROSS_ENTROPY)
    (folder / "mine.py").write_text(text)


def losses(output: Path) -> list[float]:
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def train(sections: dict[str, dict[str, Any]]) -> list[float]:
    train_in_process(run_from_dict(sections))
    return losses(Path(sections["train"]["output_dir"]))


def test_edited_loss_is_in_use_from_the_next_step_on_with_its_state(
    sections: dict[str, dict[str, Any]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_loss(tmp_path, LOSS.format(edit_at=-1, successor="", body=CONSTANT))
    values = train(sections)
    assert all(value < 100 for value in values[:3])
    assert values[3:] == [1004.0, 1005.0, 1006.0], "step 4 is the fourth call: the state was carried over"
    assert "swapped in from step 4 on" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("successor", "message"),
    [
        ("def broken(:\n", "stays as it was"),
        ("x = 1\n", "registers nothing"),
        (LOSS.format(edit_at=-1, successor="", body=CROSS_ENTROPY).replace('"mine"', '"other"'), "no longer"),
        (LOSS.format(edit_at=-1, successor="", body="raise ValueError('no')"), "failed its first call"),
        (LOSS.format(edit_at=-1, successor="", body="return inputs.sum().item()"), "returned a float"),
        (LOSS.format(edit_at=-1, successor="", body="return inputs.sum() * float('nan')"), "not finite"),
    ],
    ids=["does not parse", "registers nothing", "renamed", "first call fails", "wrong result", "not finite"],
)
def test_broken_edit_leaves_the_loss_in_use(
    sections: dict[str, dict[str, Any]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    successor: str,
    message: str,
) -> None:
    write_loss(tmp_path, successor)
    values = train(sections)
    assert len(values) == 6
    assert all(math.isfinite(value) and value < 100 for value in values)
    assert message in capfd.readouterr().err
    untouched = {**sections, "train": {**sections["train"], "output_dir": str(tmp_path / "untouched")}}
    write_loss(tmp_path, "", edit_at=-1)
    assert train(untouched) == values


FAILS_AT_FOUR = CROSS_ENTROPY.replace(
    "return", "if self.calls == 4: raise ValueError('no more')\n        return"
)


def test_failing_loss_stops_with_everything_saved(
    sections: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(LOSS.format(edit_at=-1, successor="", body=FAILS_AT_FOUR))
    with pytest.raises(PluginError, match=r"loss 'mine' \(.*mine.py:5\) failed: ValueError: no more"):
        train(sections)
    output = Path(sections["train"]["output_dir"])
    assert (output / "checkpoint-3").is_dir()
    assert json.loads((output / "run.json").read_text())["status"] == "failed"
    (tmp_path / "mine.py").write_text(LOSS.format(edit_at=-1, successor="", body=CROSS_ENTROPY))
    train_in_process(run_from_dict(sections), output / "checkpoint-3")
    whole = {**sections, "train": {**sections["train"], "output_dir": str(tmp_path / "whole")}}
    assert losses(output) == train(whole), "resumed from the third step, as if nothing had failed"


def test_failing_loss_gives_way_to_its_fallback(
    sections: dict[str, dict[str, Any]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sections["plugins"]["fallback"] = {"mine": "cross_entropy"}
    (tmp_path / "mine.py").write_text(
        LOSS.format(edit_at=-1, successor="", body=FAILS_AT_FOUR.replace("self.scale", "2.0"))
    )
    values = train(sections)
    assert len(values) == 6
    assert values[2] / values[3] > 1.5, "the plugin's loss is twice that of its fallback"
    assert "'cross_entropy' takes its place" in capfd.readouterr().err


PARTS = """\
from pathlib import Path
import torch
from transformers import TrainerCallback
from swift.plugin import register_callback, register_optimizer, register_scheduler

class Descent(torch.optim.SGD):
    version = {version}

@register_optimizer("mine")
def make(params, lr):
    return Descent(params, lr=lr, momentum=0.9)

@register_scheduler("flat")
def flat(step):
    return {factor}

@register_callback("watch")
class Watch(TrainerCallback):
    def __init__(self):
        self.steps = 0

    def state_dict(self):
        return {{"steps": self.steps}}

    def load_state_dict(self, state):
        self.steps = state["steps"]

    def on_step_end(self, args, state, control, optimizer, **kwargs):
        self.steps += 1
        moments = sum("momentum_buffer" in each for each in optimizer.optimizer.state.values())
        with open({log!r}, "a") as log:
            seen = (state.global_step, {version}, self.steps, optimizer.optimizer.version, moments > 0)
            print(*seen, file=log)
        if state.global_step == 3 and {version} == 1:
            Path(__file__).write_text(Path({successor!r}).read_text())
"""


def test_optimiser_schedule_and_callback_are_swapped_with_their_state(
    sections: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    given = {"log": str(tmp_path / "log"), "successor": str(tmp_path / "next.py")}
    (tmp_path / "next.py").write_text(PARTS.format(version=2, factor=0.5, **given))
    (tmp_path / "mine.py").write_text(PARTS.format(version=1, factor=1.0, **given))
    parts = {"optim": "mine", "lr_scheduler_type": "flat", "callbacks": ["watch"], "learning_rate": 1e-2}
    sections["train"] |= {**parts, "loss_type": "cross_entropy"}
    train(sections)
    log = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [line[0] for line in log] == list("123456")
    assert [line[1] for line in log] == list("111222"), "the callback"
    assert [line[2] for line in log] == list("123456"), "its state"
    assert [line[3] for line in log] == list("111222"), "the optimiser"
    assert all(line[4] == "True" for line in log), "its momentum"
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rates = [row["learning_rate"] for row in map(json.loads, lines) if "loss" in row]
    assert rates == pytest.approx([1e-2] * 3 + [5e-3] * 3), "the schedule"


SCALE = """\
#include <pybind11/pybind11.h>
struct Scale {{ double value() const {{ return {value}; }} }};
PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {{
  pybind11::class_<Scale>(m, "Scale").def(pybind11::init<>()).def("value", &Scale::value);
}}
"""

SCALED = """\
from pathlib import Path
import torch
from scale_of_tests import Scale
from swift.plugin import register_loss

@register_loss("mine")
class Mine:
    calls = 0

    def __call__(self, inputs, targets):
        Mine.calls += inputs.shape[-1] > 100  # the model's vocabulary: not a rehearsal
        source = Path(__file__).with_name("scale_of_tests.cpp")
        if Mine.calls == 3 and Scale().value() == 1.0:
            source.write_text({successor!r})
        return torch.nn.functional.cross_entropy(inputs, targets) * Scale().value()
"""


@pytest.mark.parametrize(
    ("successor", "factor"),
    [(SCALE.format(value="100.0"), 100.0), (SCALE.format(value="no_such_name"), 1.0)],
    ids=["works", "does not compile"],
)
def test_changed_cpp_takes_the_python_that_imports_it_along(
    sections: dict[str, dict[str, Any]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    successor: str,
    factor: float,
) -> None:
    (tmp_path / "scale_of_tests.cpp").write_text(SCALE.format(value="1.0"))
    (tmp_path / "mine.py").write_text(SCALED.format(successor=successor))
    sections["plugins"]["load"].append(str(tmp_path / "scale_of_tests.cpp"))
    values = train(sections)
    said = capfd.readouterr().err
    assert ("swapped in" in said) == (factor > 1)
    assert ("no_such_name" in said) == (factor == 1)
    own = {**sections["train"], "loss_type": "cross_entropy", "output_dir": str(tmp_path / "own")}
    plain = train({**sections, "train": own, "plugins": {}})
    ratios = [value / other for value, other in zip(values, plain, strict=True)]
    changed = next((step for step, ratio in enumerate(ratios) if ratio > 50), 6)
    assert changed == (3 if factor > 1 else 6)
    assert values[:3] == pytest.approx(plain[:3], rel=1e-5)


def test_loss_that_stops_being_finite_stops_with_everything_saved(
    sections: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    body = FAILS_AT_FOUR.replace("raise ValueError('no more')", "return inputs.sum() * float('nan')")
    (tmp_path / "mine.py").write_text(LOSS.format(edit_at=-1, successor="", body=body))
    with pytest.raises(PluginError, match="which is not finite"):
        train(sections)
    assert (tmp_path / "run" / "checkpoint-3").is_dir()


BAD_OPTIMISER = """\
import torch
from swift.plugin import register_optimizer

class Tired(torch.optim.SGD):
    steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 4:
            raise RuntimeError("too tired")
        return super().step(closure)

@register_optimizer("tired")
def tired(params, lr):
    return Tired(params, lr=lr)
"""


def test_optimiser_that_fails_in_mid_run_is_named_and_spoils_no_checkpoint(
    sections: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(BAD_OPTIMISER)
    sections["train"] |= {"optim": "tired", "loss_type": "cross_entropy", "save_steps": 2}
    with pytest.raises(PluginError, match=r"step 4: RuntimeError: too tired[\s\S]*from: checkpoint-2"):
        train(sections)
    assert not (tmp_path / "run" / "checkpoint-3").exists()
