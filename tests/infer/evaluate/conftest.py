"""A model that has learned to reverse three digits, and questions that it has not seen."""

from __future__ import annotations

import json
import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swift.core.config.run import load_run
from swift.core.registry import Component, callbacks
from swift.core.train.callbacks.contract import Callback
from swift.core.train.run import train_in_process
from swift.infer.evaluate.callback import BenchmarkCallback

STEPS = 90


@dataclass(frozen=True)
class Digits:
    """A finished run, and files of questions.

    Attributes:
        metrics: every report of the run, whose benchmark was the file questions.
    """

    run: Path
    questions: Path
    choices: Path
    metrics: list[dict[str, Any]]

    @property
    def model(self) -> Path:
        return self.run / "final"


class KillWorker(Callback):
    """Kills the process that measures, just before it measures for the first time."""

    def attach(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step != STEPS // 3:
            return
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, BenchmarkCallback) and callback.worker and callback.worker._process:
                os.killpg(callback.worker._process.pid, signal.SIGKILL)


def asked(number: str) -> str:
    return f"Reverse the digits {number}"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    folder = tmp_path_factory.mktemp("digits")
    numbers = [f"{number:03d}" for number in range(1000)]
    random.Random(0).shuffle(numbers)
    held, known = numbers[:24], numbers[24:]
    with (folder / "train.jsonl").open("w") as file:
        for number in known:
            row = {"question": asked(number), "answer": number[::-1]}
            file.write(json.dumps(row) + "\n")
    questions, choices = folder / "digits.csv", folder / "which.jsonl"
    questions.write_text(
        "question,answer\n" + "".join(f"{asked(number)},{number[::-1]}\n" for number in held)
    )
    rows = ({"question": asked(n), "choices": [n, n[::-1], n + n], "answer": "B"} for n in held[:4])
    choices.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = folder / "run"
    assignments = {
        "model.model_id": "tiny/qwen3",
        "data.dataset_name": folder / "train.jsonl",
        "data.max_length": 64,
        "train.output_dir": run,
        "train.max_steps": STEPS,
        "train.per_device_train_batch_size": 64,
        "train.learning_rate": 2e-3,
        "train.logging_steps": STEPS // 3,
        "train.callbacks": "kill_worker",
        "eval.qa": questions,
        "eval.benchmark_steps": STEPS // 3,
        "eval.answer_tokens": 8,
    }
    callbacks.register(Component("kill_worker", KillWorker))
    try:
        train_in_process(load_run(None, [f"{key}={value}" for key, value in assignments.items()]))
    finally:
        callbacks.unregister("kill_worker")
    reports = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return Digits(run, questions, choices, reports)
