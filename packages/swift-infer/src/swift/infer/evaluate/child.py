"""The worker process as the run sees it: orders, replies, a limit to silence, and a log that stays."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from swift.core.errors import EngineError
from swift.infer.evaluate.catalog import package_folder

GLANCE = 0.5  # seconds between two looks at what the worker has written


class Worker:
    """A process of its own session; it starts with the first order and ends with this object.

    Args:
        folder: where its log (worker.log) goes; the log of an earlier one is kept and continued.
        silence: seconds in which neither log nor answers may grow before an order is given up.

    Raises:
        ConfigError: EvalScope is not installed.
    """

    def __init__(self, folder: Path, silence: float) -> None:
        package_folder()
        self.folder = folder
        self.log = folder / "worker.log"
        self.silence = silence
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, order: Mapping[str, Any]) -> Any:
        """The result of an order.

        Raises:
            EngineError: the order failed, the process ended, or nothing happened for too long.
        """
        process = self._started()
        written, replies = _pipe(process.stdin), _pipe(process.stdout)
        try:
            written.write(json.dumps(order).encode() + b"\n")
            written.flush()
        except BrokenPipeError:
            raise self._ended() from None
        reply = json.loads(self._line(replies.fileno()))
        if "problem" in reply:
            remedy = reply["remedy"] or f"its log: {self.log}"
            raise EngineError(reply["problem"], remedy)
        return reply["result"]

    def close(self) -> None:
        """End the process and whatever it has started; safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _pipe(process.stdin).close()
        _pipe(process.stdout).close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            # its bars go to its log, where they are signs of life
            inherited = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "swift.infer.evaluate.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,
                    start_new_session=True,
                    env={**inherited, "NO_PROXY": _with_loopback(os.environ.get("NO_PROXY", ""))},
                )
        return self._process

    def _line(self, pipe: int) -> bytes:
        """The next line of the pipe."""
        received = b""
        size, since = -1, time.monotonic()
        while not received.endswith(b"\n"):
            if select.select([pipe], [], [], GLANCE)[0]:
                piece = os.read(pipe, 1 << 16)
                if not piece:
                    raise self._ended()
                received += piece
                continue
            grown = _bytes_in(self.folder)
            if grown != size:
                size, since = grown, time.monotonic()
            elif time.monotonic() - since > self.silence:
                self.close()
                raise EngineError(
                    f"the benchmark has written nothing for {self.silence:g} s and was stopped",
                    f"its log: {self.log}; eval.stall_timeout sets the limit",
                )
        return received

    def _ended(self) -> EngineError:
        self.close()
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return EngineError(f"the worker process has ended: {said.strip()[:300]}", f"its log: {self.log}")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise EngineError("the worker process has no pipes")
    return pipe


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _with_loopback(hosts: str) -> str:
    """NO_PROXY that lets the worker reach the server of this machine."""
    return ",".join(part for part in (hosts, "127.0.0.1", "localhost") if part)
