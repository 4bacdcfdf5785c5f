"""One server process: started under the guard, waited for, looked at, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from swift.core.errors import EngineError
from swift.infer.environments import variables

GUARD = Path(__file__).with_name("guard.py")
LOG_TAIL = 20  # lines of the log in errors
LONGEST_TAIL = 4000  # characters of them


@dataclass(frozen=True)
class Launch:
    """What is started.

    Attributes:
        name: the engine, for messages.
        command: with the port in it.
        health: URL that answers 200 once requests are taken.
        environment: variables beside our own.
        log: file for its output; None: one in the temporary folder.
        start_timeout: seconds until it must be ready.
        grace: seconds between SIGTERM and SIGKILL.
    """

    name: str
    command: Sequence[str]
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    start_timeout: float = 600.0
    grace: float = 10.0


class ServerProcess:
    """A running server.

    Raises:
        EngineError: its program or its log file cannot be opened.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.log = launch.log or new_log(launch.name)
        command = [
            sys.executable,
            "-I",
            "-S",
            str(GUARD),
            str(os.getpid()),
            str(launch.grace),
            *launch.command,
        ]
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("wb") as output:
                self._guard = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**variables(), **launch.environment},
                    start_new_session=True,  # Ctrl-C in the terminal is for us: answers are drained first
                )
        except OSError as error:
            raise EngineError(
                f"the {launch.name} server cannot be started with its log in {str(self.log)!r}: {error}",
                "name another file with infer.server_log",
            ) from error

    @property
    def pid(self) -> int:
        """The guard's."""
        return self._guard.pid

    def wait_ready(self) -> None:
        """Return once the server takes requests.

        Raises:
            EngineError: it ended, or was not ready in time (it is stopped then); with the end of its log.
        """
        deadline = time.monotonic() + self.launch.start_timeout
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            while not answers(client, self.launch.health):
                if not self.alive():
                    raise EngineError(self.death(), f"the whole log: {self.log}")
                if time.monotonic() > deadline:
                    self.stop()
                    raise EngineError(
                        f"the {self.launch.name} server was not ready after "
                        f"{self.launch.start_timeout:g} s; the end of its log:\n{self.tail()}",
                        f"raise infer.start_timeout, or read {self.log}",
                    )
                time.sleep(0.2)

    def alive(self) -> bool:
        """Whether it runs."""
        return self._guard.poll() is None

    def death(self) -> str:
        """How it ended, with the end of its log; empty while it runs."""
        status = self._guard.poll()
        if status is None:
            return ""
        return (
            f"the {self.launch.name} server ended with {_meaning(status)}; the end of its log:\n{self.tail()}"
        )

    def tail(self) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LONGEST_TAIL))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-LOG_TAIL:])
        return ""

    def stop(self) -> None:
        """SIGTERM, then SIGKILL for it and all that it started; safe to call twice."""
        if self.alive():
            self._guard.terminate()
        try:
            self._guard.wait(self.launch.grace + 5.0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()


def answers(client: httpx.Client, url: str) -> bool:
    """Whether a URL answers 200."""
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_log(name: str) -> Path:
    """A new file in the temporary folder."""
    handle, path = tempfile.mkstemp(prefix=f"swift-{name}-server-", suffix=".log")
    os.close(handle)
    return Path(path)


def _meaning(status: int) -> str:
    """An exit status in words."""
    number = -status if status < 0 else status - 128
    with contextlib.suppress(ValueError):
        if number > 0:
            return f"signal {signal.Signals(number).name}"
    return f"status {status}"
