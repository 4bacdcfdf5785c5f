"""A trace of some steps by torch.profiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from swift.core.console import say
from swift.core.errors import ConfigError
from swift.core.train.callbacks.contract import Callback

FOLDER = "profile"


class Profiler(Callback):
    """After `wait` steps and `warmup` steps that are measured and thrown away, record `active` steps.

    OUT/profile then holds, for each rank that is asked for, trace-rankR-stepS.json (for chrome://tracing or
    Perfetto) and table-rankR-stepS.txt, the operations by their time.

    Args:
        wait, warmup, active: steps, counted from where this process begins.
        ranks: those that record.
        record_shapes, profile_memory, with_stack: as in torch.profiler; each slows the steps down.
        rows: longest table.

    Raises:
        ConfigError: an argument out of its range.
    """

    def __init__(
        self,
        wait: int = 1,
        warmup: int = 1,
        active: int = 3,
        ranks: tuple[int, ...] | list[int] = (0,),
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        rows: int = 30,
    ) -> None:
        if min(wait, warmup) < 0 or active < 1:
            raise ConfigError(
                f"the callback profiler has wait={wait}, warmup={warmup}, active={active}",
                "wait and warmup are at least 0, and active at least 1",
            )
        self.window = {"wait": wait, "warmup": warmup, "active": active}
        self.ranks = tuple(ranks)
        self.options: dict[str, Any] = {
            "record_shapes": record_shapes,
            "profile_memory": profile_memory,
            "with_stack": with_stack,
        }
        self.rows = rows
        self._profile: profile | None = None
        self._written = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start on the ranks that record."""
        if args.process_index not in self.ranks:
            return
        self._folder = Path(args.output_dir) / FOLDER
        self._rank = args.process_index
        self._first = state.global_step
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available() and args.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(
            activities=activities,
            schedule=schedule(**self.window, repeat=1),
            on_trace_ready=self._write,
            **self.options,
        )
        self._profile.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One step on; stop once the trace is written."""
        if self._profile is None:
            return
        self._profile.step()
        if self._written:
            self._stop()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop, and say so when the run was too short."""
        if self._profile is None:
            return
        self._stop()
        if not self._written:
            say(f"profiler: the run ended within the first {sum(self.window.values())} steps, no whole trace")

    def _stop(self) -> None:
        assert self._profile is not None
        self._profile.stop()
        self._profile = None

    def _write(self, recorded: profile) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"rank{self._rank}-step{self._first + recorded.step_num}"
        recorded.export_chrome_trace(str(self._folder / f"trace-{name}.json"))
        averages = recorded.key_averages()
        by = "self_cuda_time_total" if ProfilerActivity.CUDA in recorded.activities else "self_cpu_time_total"
        table = averages.table(sort_by=by, row_limit=self.rows)
        (self._folder / f"table-{name}.txt").write_text(table + "\n", encoding="utf-8")
        self._written = True
        say(f"profiler: {self._folder / f'trace-{name}.json'}")
