"""A process that the zygote forked: not a child of the run's, and therefore held by a descriptor."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import weakref
from collections.abc import Callable


class Forked:
    """Its id alone could come to mean another process; the descriptor (pidfd) cannot.

    Attributes:
        pid: for people; nothing is done by it.

    Args:
        descriptor: of the process.
        reap: asks its parent for its exit status, as waitpid() gives it; None if nobody knows.
    """

    def __init__(self, pid: int, descriptor: int, reap: Callable[[], int | None]) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._reap = reap
        self._status: int | None = None
        self._close = weakref.finalize(self, os.close, descriptor)

    def kill(self) -> None:
        """End it; does nothing to one that has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit status as subprocess gives it; None if it does not end in time."""
        if self._status is None:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            if not poll.poll(None if seconds is None else 1000 * seconds):
                return None
            status = self._reap()
            # Where the zygote ended, it took its children with it.
            self._status = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
        return self._status

    def disown(self) -> None:
        """Close the copy of the descriptor that a fork of the run has."""
        self._close()
