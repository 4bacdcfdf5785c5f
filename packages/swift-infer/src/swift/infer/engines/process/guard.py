"""Runs a server and ends it, with all that it started, when it is told to or when who asked for it is gone.

A program of its own that imports the standard library alone, because only a process that outlives ours can
clean up after a kill -9: python guard.py PARENT_PID GRACE_SECONDS COMMAND... Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
LOOK = 0.5  # seconds between two looks at whether the parent lives
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def main(parent: int, grace: float, command: list[str]) -> int:
    """Exit status of the command; 128 + signal when a signal ended it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of the server become our children

    def before_exec() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # should even this guard be killed

    server = subprocess.Popen(command, preexec_fn=before_exec)
    while server.poll() is None:
        info = signal.sigtimedwait(SIGNALS, LOOK)
        if os.getppid() != parent or (info is not None and info.si_signo != signal.SIGCHLD):
            end(server, grace)
            break
    for process in descendants(os.getpid()):
        kill(process, signal.SIGKILL)
    status = server.wait()
    return status if status >= 0 else 128 - status


def end(server: subprocess.Popen[bytes], grace: float) -> None:
    """Ask a process to end, wait, and leave what is left to be killed."""
    server.terminate()
    deadline = time.monotonic() + grace
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if server.poll() is None:
        server.kill()


def descendants(root: int) -> list[int]:
    """Every process below one, whatever group or session it moved to."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
                parents.setdefault(int(fields.split()[1]), []).append(int(folder.name))
    below, queue = [], [root]
    while queue:
        children = parents.get(queue.pop(), [])
        below += children
        queue += children
    return below


def kill(process: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
