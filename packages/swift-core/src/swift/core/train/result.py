"""What a run ends with, and its closing lines on the console."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from swift.core.console import say
from swift.core.models.adapter_folder import adapter_file


@dataclass(frozen=True)
class TrainResult:
    """What a run ended with.

    Attributes:
        output_dir: folder of the run.
        final_dir: trained weights with tokenizer, or None when the run was stopped before its end.
        steps: optimiser steps taken, those before a resume included.
        figures: last training report and evaluation (eval_loss, eval_exact_match, ...).
        seconds: wall time of this process.
        signal_status: 128 + signal number when a signal ended the run in order, else None.
        generates: whether the model writes text, so that one can chat with it.
    """

    output_dir: Path
    final_dir: Path | None
    steps: int
    figures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    signal_status: int | None = None
    generates: bool = True


def report_result(result: TrainResult) -> None:
    """The closing lines of a run: where everything is, and how to chat with it."""
    if result.final_dir is None:
        say(f"stopped after step {result.steps}, saved in {result.output_dir}; go on with train.resume=true")
        return
    say(f"{result.steps} steps in {result.seconds:.0f} s; metrics in {result.output_dir / 'metrics.jsonl'}")
    flag = "--adapter" if adapter_file(result.final_dir) else "--model"
    chat = f"; chat with them: swift infer {flag} {result.final_dir}" if result.generates else ""
    say(f"trained weights in {result.final_dir}{chat}")
