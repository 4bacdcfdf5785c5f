"""Which processor core a plugin's process runs on: the caller's, while the caller waits for it.

A call hands megabytes back and forth, and one side always waits for the other. On one core the second finds
in the cache what the first has just written, and nobody has to be woken elsewhere. On two cores each line of
memory travels between caches: measured at 1M floats, twice the time of a copy where the cores share a cache,
and twenty times where they do not.
"""

from __future__ import annotations

import ctypes
import os

_getcpu = ctypes.CDLL(None).sched_getcpu


class SharedCore:
    """Keeps a process of one thread on the core of whoever calls it.

    Args:
        pid: of a process that its parent has not reaped, so that the id means no other one.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._core: int | None = None
        self._everywhere: set[int] = set()

    def join(self) -> None:
        """Bring the process to the core that this thread runs on, and stay there to wait for it.

        Without the second, the scheduler moves the caller to an idle core when the answer comes.
        """
        self._everywhere = os.sched_getaffinity(0)
        core = _getcpu()
        if core not in self._everywhere:
            return
        if core != self._core:
            self._core = core
            _allow(self._pid, {core})
        _allow(0, {core})

    def part(self) -> None:
        """Let this thread run where it may."""
        _allow(0, self._everywhere)

    def leave(self) -> None:
        """Let the process run anywhere: a long call should not wait for its turn while other cores idle."""
        self._core = None
        _allow(self._pid, self._everywhere)


def _allow(pid: int, cores: set[int]) -> None:
    try:  # noqa: SIM105 (suppress() costs as much as the call)
        os.sched_setaffinity(pid, cores)
    except OSError:  # it has ended, or may not be moved: only the speed depends on it
        pass
