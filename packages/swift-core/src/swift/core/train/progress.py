"""Progress on the console: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from swift.core.console import is_main_process

SHOWN = ("loss", "eval_loss", "reward", "rewards/accuracy", "learning_rate", "grad_norm", "tokens_per_second")


class ProgressDisplay(TrainerCallback):  # type: ignore[misc]
    """One bar a run with the newest figures beside it."""

    def __init__(self, title: str, enabled: bool = True) -> None:
        self.title = title
        self.bar = enabled and is_main_process() and sys.stderr.isatty()
        self.lines = enabled and is_main_process() and not self.bar
        self._progress: Progress | None = None
        self._task: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar at the step the run starts from."""
        if self.bar:
            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"), console=Console(stderr=True),
            )  # fmt: skip
            self._progress.start()
            self._task = self._progress.add_task(
                self.title, total=state.max_steps, completed=state.global_step, figures=""
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self._progress is not None:
            self._progress.update(self._task, completed=state.global_step)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Show the newest figures."""
        figures = format_figures(logs or {})
        if not figures:
            return
        if self._progress is not None:
            self._progress.update(self._task, figures=figures)
        elif self.lines or self.bar:  # what is measured after training finds the bar closed
            step = f"{state.global_step}/{state.max_steps}"
            print(f"{self.title} {step}  {figures}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the bar, also after an error."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.close()


def format_figures(logs: dict[str, Any]) -> str:
    """The figures of a report that fit on a line: the usual ones, then the metrics that were asked for."""
    metrics = [name for name in logs if name.startswith("eval_") and name not in SHOWN and "/" not in name]
    shown = [name for name in (*SHOWN, *metrics) if isinstance(logs.get(name), int | float)]
    return "  ".join(f"{name} {logs[name]:.4g}" for name in shown)
