"""OUT/metrics.jsonl: one JSON object a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from swift.core.console import is_main_process
from swift.core.train.record import METRICS_FILE


class MetricsFile(TrainerCallback):  # type: ignore[misc]
    """Appends one JSON object per report to OUT/metrics.jsonl."""

    def __init__(self, output: Path, resumed_step: int) -> None:
        self.path = output / METRICS_FILE
        if is_main_process():
            self._forget_after(resumed_step)

    def _forget_after(self, step: int) -> None:
        """Drop reports of steps that a killed run took after the checkpoint it is resumed from."""
        if not self.path.exists():
            return
        kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
        staged = self.path.with_suffix(".tmp")
        staged.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        staged.replace(self.path)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Write the report at once, so that a kill loses at most the step it interrupts."""
        if logs and is_main_process():
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # the torn last line of a killed run
