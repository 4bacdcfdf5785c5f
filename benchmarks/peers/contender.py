"""What a contender has to say: its command, and where its figures lie afterwards."""

from __future__ import annotations

import ast
import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from peers.job import Job


@dataclass(frozen=True)
class Report:
    """What a trainer said of its own run.

    Attributes:
        seconds: its `train_runtime`.
        losses: of each step.
    """

    seconds: float
    losses: list[float]


class Contender(ABC):
    """A trainer in an environment of its own."""

    name: ClassVar[str]

    @abstractmethod
    def command(self, binaries: Path, job: Job, output: Path) -> list[str]:
        """The command line.

        Args:
            binaries: folder of the environment's executables.
            output: existing folder for everything it writes.
        """

    def report(self, output: Path, log: Path) -> Report:
        """Its own figures; by default from the reports that transformers' trainer prints."""
        return report_of(printed_reports(log))

    def adapter(self, output: Path) -> Path:
        """The folder with the adapter that it trained."""
        found = sorted(output.rglob("adapter_config.json"), key=lambda path: len(path.parts))
        return found[0].parent


def printed_reports(log: Path) -> list[dict[str, Any]]:
    """Every {'loss': ...} that was printed."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return [ast.literal_eval(found) for found in re.findall(r"\{'(?:loss|train_runtime)'[^{}]*\}", text)]


def json_reports(path: Path) -> list[dict[str, Any]]:
    """Every line of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def report_of(rows: list[dict[str, Any]]) -> Report:
    """Losses and running time among reports of transformers' trainer."""
    seconds = [float(row["train_runtime"]) for row in rows if "train_runtime" in row]
    return Report(seconds[-1], [float(row["loss"]) for row in rows if "loss" in row])
