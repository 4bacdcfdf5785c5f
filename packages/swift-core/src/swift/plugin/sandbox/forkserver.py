"""The run's side of the zygote: one for each process of a run, started when the first plugin needs it."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import swift.plugin
from swift.core.errors import SandboxError
from swift.plugin.sandbox.diagnosis import last_lines
from swift.plugin.sandbox.forked import Forked
from swift.plugin.sandbox.readable import library_path
from swift.plugin.sandbox.zygote import ANSWER, FORK, REAP, REQUEST

# -c and not -m: the package may be on the run's sys.path only by PYTHONPATH, which -I ignores.
_START = (
    "import sys; sys.path += sys.argv[3:]; from swift.plugin.sandbox.zygote import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)


class ZygoteGone(Exception):
    """It has ended; what it forked ends with it."""


class Zygote:
    """A live zygote. Thread-safe; one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="swift-zygote-"))
        self._log = self._folder / "log"
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = _in_lasting_thread(functools.partial(self._start, theirs.fileno()))
        self._end = weakref.finalize(self, _end, os.getpid(), self.process, self._folder)

    def fork(self, channel: int, output: int, seconds: float) -> Forked:
        """A new process with these descriptors.

        Raises:
            ZygoteGone: it has ended.
            TimeoutError: it is not ready in time.
            OSError: it could not fork.
        """
        pid, descriptors = self._ask(FORK, 0, (channel, output), seconds)
        return Forked(pid, descriptors[0], functools.partial(self._reap, pid))

    def end(self) -> str:
        """Kill it, and with it all that it forked; what it printed."""
        self.process.kill()
        self.process.wait()
        self._control.close()
        printed = self._log.read_text(errors="replace")
        self._end()
        return printed

    def _start(self, control: int) -> subprocess.Popen[bytes]:
        arguments = [str(control), str(os.getpid()), *_roots()]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-B", "-X", "utf8", "-c", _START, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(self._folder),
                cwd=self._folder,
                pass_fds=[control],
                start_new_session=True,
            )

    def _reap(self, pid: int) -> int | None:
        """The status of a process that has ended, None if nobody knows."""
        try:
            return self._ask(REAP, pid, (), None)[0]
        except (ZygoteGone, OSError):
            return None

    def _ask(
        self, kind: bytes, pid: int, descriptors: Sequence[int], seconds: float | None
    ) -> tuple[int, list[int]]:
        with self._lock:
            self._control.settimeout(seconds)
            try:
                request = REQUEST.pack(kind, pid)
                socket.send_fds(self._control, [request], descriptors, socket.MSG_NOSIGNAL)
                answer, received, _, _ = socket.recv_fds(self._control, ANSWER.size, 1)
            except (BrokenPipeError, ConnectionResetError):
                raise ZygoteGone from None
        if len(answer) != ANSWER.size:
            raise ZygoteGone
        number, error = ANSWER.unpack(answer)
        if error:
            raise OSError(error, os.strerror(error))
        return number, received


class ForkServer:
    """Forks plugins' processes, from a new zygote where the last one has ended. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None

    @property
    def pid(self) -> int | None:
        """Of the zygote, if there is one."""
        return self._zygote.process.pid if self._zygote is not None else None

    def prepare(self) -> None:
        """Start the zygote without waiting for it: it imports torch while the caller does."""
        with self._lock:
            self._live()

    def fork(self, channel: int, output: int, seconds: float) -> Forked:
        """A new process that serves a channel.

        Args:
            channel, output: descriptors of its socket, and of its stdout and stderr.
            seconds: that it may take, the import of torch included.

        Raises:
            SandboxError: it cannot be started.
        """
        with self._lock:
            try:
                return self._fork(channel, output, seconds)
            except ZygoteGone:
                self._drop()
            try:
                return self._fork(channel, output, seconds)
            except ZygoteGone:
                raise _failed(f"ended at once{last_lines(self._drop())}") from None

    def _fork(self, channel: int, output: int, seconds: float) -> Forked:
        try:
            return self._live().fork(channel, output, seconds)
        except TimeoutError:  # its answer may come later, to another question
            raise _failed(f"was not ready within {seconds:g} s{last_lines(self._drop())}") from None
        except OSError as error:
            raise _failed(f"could not fork: {error.strerror}") from None

    def _live(self) -> Zygote:
        if self._zygote is not None and self._zygote.process.poll() is not None:
            self._drop()
        if self._zygote is None:
            self._zygote = Zygote()
        return self._zygote

    def _drop(self) -> str:
        zygote, self._zygote = self._zygote, None
        return zygote.end() if zygote is not None else ""


def fork_server() -> ForkServer:
    """The one of this process: a fork of the run must not use its parent's."""
    return _server(os.getpid())


@functools.cache
def _server(pid: int) -> ForkServer:
    return ForkServer()


def clean_environment(folder: Path) -> dict[str, str]:
    """Nothing of the run's own environment but the path of libraries: credentials often lie in variables."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    libraries = {"LD_LIBRARY_PATH": ":".join(library_path())} if library_path() else {}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "CUDA_VISIBLE_DEVICES": "",
        **threads,
        **libraries,
    }


def _roots() -> Sequence[str]:
    """Where swift.plugin and swift.core lie, if not among installed packages."""
    return [str(Path(folder).parents[1]) for folder in swift.plugin.__path__]


def _failed(what: str) -> SandboxError:
    return SandboxError(
        f"the process that sandboxed plugins are started from {what}",
        "look whether this Python can import torch and the machine has memory and processes left",
    )


def _end(owner: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    if os.getpid() == owner:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _in_lasting_thread(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """When the thread that started it ends, the kernel kills the zygote (PR_SET_PDEATHSIG): a lasting one."""
    if threading.current_thread() is threading.main_thread():
        return start()
    return _nursery(os.getpid()).submit(start).result()


@functools.cache
def _nursery(pid: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="swift-sandbox")
