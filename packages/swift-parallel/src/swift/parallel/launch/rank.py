"""One rank as a child process that never outlives its launcher."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Rank:
    """A started rank. Rank 0 talks to the terminal itself; what another rank says goes to its log file.

    The rank leads a session of its own: Ctrl-C on a terminal reaches the launcher alone, which passes it on
    once.
    """

    def __init__(
        self, number: int, command: Sequence[str], environment: Mapping[str, str], logs: Path
    ) -> None:
        self.number = number
        self.log = None if number == 0 else logs / f"rank-{number}.log"
        with contextlib.ExitStack() as files:
            output = None if self.log is None else files.enter_context(self.log.open("wb"))
            self.process = subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_dies_with(os.getpid()),
            )

    def status(self) -> int | None:
        """Exit status, negative after a signal; None while it runs.

        An ended rank stays a zombie until kill(): its id cannot be given to another process in between.
        """
        if self.process.returncode is not None:
            return self.process.returncode
        ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def signal(self, number: int) -> None:
        """Send a signal to the rank itself; nothing happens when it has ended."""
        if self.process.returncode is None:
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End the rank and the processes it started (data workers), now; safe to call twice."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self, lines: int = 20) -> str:
        """The end of what it wrote; rank 0 wrote to the terminal."""
        if self.log is None:
            return ""
        with self.log.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=lines)).strip()


def _dies_with(parent: int) -> Callable[[], None] | None:
    """What a child runs first, so that the kernel kills it when the launcher dies, even by kill -9."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork

    def bind() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGKILL)

    return bind
