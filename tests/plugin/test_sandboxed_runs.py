"""Runs with plugins that are not trusted: they train as trusted ones do, and what they break stays theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swift.core.config.run import run_from_dict
from swift.core.errors import SandboxError
from swift.core.train.run import train_in_process

pytestmark = pytest.mark.usefixtures("untouched_registries")

Sections = dict[str, dict[str, Any]]

LOSS = """\
import ctypes, time
from pathlib import Path
import torch
from swift.plugin import register_loss

@register_loss("mine")
class Mine:
    calls = 0

    def __call__(self, inputs, targets):
        self.calls += 1
        if self.calls == 4:
            {at_four}
        return torch.nn.functional.cross_entropy(inputs, targets)
"""


@pytest.fixture
def sections(tmp_path: Path) -> Sections:
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
        "plugins": {"load": [str(tmp_path / "mine.py")], "trust": "sandboxed", "timeout": 5.0},
    }


def losses(sections: Sections) -> list[float]:
    lines = (Path(sections["train"]["output_dir"]) / "metrics.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def train(sections: Sections, **changes: Any) -> list[float]:
    changed = {**sections, "train": {**sections["train"], **changes}}
    train_in_process(run_from_dict(changed))
    return losses(changed)


def test_sandboxed_loss_trains_as_the_trusted_one(sections: Sections, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOSS.format(at_four="pass"))
    values = train(sections)
    assert values == pytest.approx(
        train(sections, output_dir=str(tmp_path / "own"), loss_type="cross_entropy"), rel=1e-6
    )
    assert values[-1] < values[0]


DEATHS = {
    "segfault": ("ctypes.string_at(0)", "SIGSEGV"),
    "hang": ("time.sleep(60)", "5"),
    "forbidden file": ("Path('/etc/passwd').read_text()", "Permission"),
}


@pytest.mark.parametrize("how", DEATHS)
def test_death_of_a_loss_saves_and_stops(sections: Sections, tmp_path: Path, how: str) -> None:
    at_four, message = DEATHS[how]
    (tmp_path / "mine.py").write_text(LOSS.format(at_four=at_four))
    with pytest.raises(SandboxError, match=message) as caught:
        train(sections)
    assert "mine.py" in str(caught.value)
    assert (tmp_path / "run" / "checkpoint-3").is_dir()
    resumed = {**sections, "train": {**sections["train"], "loss_type": "cross_entropy"}}
    train_in_process(run_from_dict(resumed), tmp_path / "run" / "checkpoint-3")
    assert len(losses(resumed)) == 6


def test_death_of_a_loss_with_a_fallback_does_not_end_the_run(
    sections: Sections, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(LOSS.format(at_four="ctypes.string_at(0)"))
    sections["plugins"]["fallback"] = {"mine": "cross_entropy"}
    values = train(sections)
    assert "'cross_entropy' takes its place" in capfd.readouterr().err
    assert values == pytest.approx(
        train(sections, output_dir=str(tmp_path / "own"), loss_type="cross_entropy"), rel=1e-6
    )
