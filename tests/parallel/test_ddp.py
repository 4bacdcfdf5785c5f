"""Two processes train as one does, through a kill, an interrupt and two resumes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from swift.core.config.run import run_from_dict
from swift.core.train.run import train_in_process

ROWS = 41  # the sixth step has one row: the second rank gets none
STEPS = 24
FRESH_STEPS = 6
WORDS = ["alpha", "beta", "gamma", "delta", "house", "tree", "river", "cat", "dog", "sun", "moon", "sea"]
COMMAND = [sys.executable, "-c", "from swift.core.cli import main; main()"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As each rank has: a second thread only waits on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def unequal_rows(count: int) -> list[dict[str, Any]]:
    """Conversations of 1 to 40 words, so that the ranks' shares of supervised tokens differ at every step."""
    draw = random.Random(7)

    def words(most: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    return [
        {"messages": [{"role": "user", "content": words(20)}, {"role": "assistant", "content": words(40)}]}
        for _ in range(count)
    ]


def settings(data: Path, output: Path, batch_size: int, **device: Any) -> dict[str, Any]:
    return {
        "model": {"model_id": "tiny/qwen3"},
        "data": {"dataset_name": str(data)},
        "train": {
            "stage": "sft", "output_dir": str(output), "per_device_train_batch_size": batch_size,
            "max_steps": STEPS, "learning_rate": 1e-4, "save_steps": 4, "dtype": "float32",
        },
        "device": {"device": "cpu", **device},
    }  # fmt: skip


class Run:
    """One `swift sft` with two ranks."""

    def __init__(self, config: Path, output: Path, *overrides: str) -> None:
        self.output = output
        self.process = subprocess.Popen(
            [*COMMAND, "sft", str(config), *overrides],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def after_step(self, step: int, act: Callable[[], None]) -> None:
        """Do something as soon as a step was reported."""
        deadline = time.monotonic() + 120
        while max([0, *(entry["step"] for entry in reports(self.output))]) < step:
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline, "the run does not get on"
            time.sleep(0.005)
        act()

    def rank(self, number: int) -> int:
        """Process id of a rank."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes().split(b"\0")
                parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            except (OSError, IndexError):
                continue
            if f"RANK={number}".encode() in environment and parent == str(self.process.pid):
                return int(path.name)
        raise AssertionError(f"rank {number} is not there")

    def end(self) -> tuple[int, str]:
        """Exit status and everything said."""
        said = self.process.communicate(timeout=120)[1]
        return self.process.returncode, said


def reports(output: Path) -> list[dict[str, Any]]:
    path = output / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [entry for line in lines if line.endswith("\n") and "loss" in (entry := json.loads(line))]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the ranks in /proc")
def test_two_ranks_equal_one_process_through_a_kill_and_an_interrupt(tmp_path: Path) -> None:
    data, together, alone = tmp_path / "rows.json", tmp_path / "together", tmp_path / "alone"
    data.write_text(json.dumps(unequal_rows(ROWS)))
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps(settings(data, together, 4, parallel_method="ddp", num_gpus=2)))

    killed = Run(config, together)
    killed.after_step(6, lambda: os.kill(killed.rank(1), signal.SIGKILL))
    killed_at = time.monotonic()
    status, said = killed.end()
    assert time.monotonic() - killed_at < 20
    assert status == 137 and "rank 1 of 2 was killed by signal 9, SIGKILL" in said

    interrupted = Run(config, together, "train.resume=true")
    interrupted.after_step(10, lambda: interrupted.process.send_signal(signal.SIGINT))
    status, said = interrupted.end()
    assert status == 130, said
    stopped = json.loads((together / "run.json").read_text())
    assert stopped["status"] == "interrupted" and 10 <= stopped["steps"] < STEPS
    checkpoint = together / f"checkpoint-{stopped['steps']}"
    assert (checkpoint / "manifest.json").exists()

    # one process ends what two ranks began: without another import of torch
    train_in_process(run_from_dict(settings(data, together, 8)), checkpoint)
    train_in_process(run_from_dict(settings(data, alone, 8)))

    expected, seen = reports(alone), reports(together)
    assert (
        [entry["step"] for entry in seen]
        == [entry["step"] for entry in expected]
        == list(range(1, STEPS + 1))
    )
    for one_process, two_ranks in zip(expected, seen, strict=True):
        # Later on Adam has carried the rounding of earlier sums into the weights.
        bound = 1e-6 if one_process["step"] <= FRESH_STEPS else 5e-6
        assert two_ranks["loss"] == pytest.approx(one_process["loss"], abs=bound)
        assert two_ranks["grad_norm"] == pytest.approx(one_process["grad_norm"], rel=bound)
    weights, others = (load_file(folder / "final" / "model.safetensors") for folder in (together, alone))
    assert weights.keys() == others.keys()
    # Adam divides by the root of the second moment: where a gradient is nearly zero, its rounding shows
    assert max((weights[name] - others[name]).abs().max().item() for name in weights) < 2e-5
