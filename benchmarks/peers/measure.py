"""Wall time and peak memory of a command with all its children."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

INTERVAL = 0.05  # seconds between two looks at the memory


@dataclass(frozen=True)
class Usage:
    """What a command took.

    Attributes:
        seconds: from start to end.
        processor_seconds: user and system time of the process and its children.
        peak_bytes: the largest sum of their resident memory.
    """

    seconds: float
    processor_seconds: float
    peak_bytes: int


def run_measured(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Usage:
    """Run a command to its end.

    Args:
        log: gets what it prints.

    Raises:
        SystemExit: it failed; the message holds its last lines.
    """
    with log.open("w", encoding="utf-8") as output:
        started, before = time.monotonic(), _children_seconds()
        process = subprocess.Popen(
            command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT, cwd=log.parent
        )
        watch = MemoryWatch(process.pid)
        status = process.wait()
        seconds = time.monotonic() - started
        peak = watch.stop()
    if status:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise SystemExit(f"{' '.join(command[:3])} ... ended with status {status}:\n{tail}")
    return Usage(seconds, _children_seconds() - before, peak)


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class MemoryWatch:
    """Looks at a process tree in a thread of its own."""

    def __init__(self, pid: int) -> None:
        self.root = psutil.Process(pid)
        self.peak = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.stopped.wait(INTERVAL):
            self.peak = max(self.peak, self._resident())

    def _resident(self) -> int:
        total = 0
        with suppress(psutil.NoSuchProcess):
            for process in (self.root, *self.root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    total += process.memory_info().rss
        return total

    def stop(self) -> int:
        """The peak in bytes."""
        self.stopped.set()
        self.thread.join()
        return self.peak
