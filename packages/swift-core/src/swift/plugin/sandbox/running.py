"""A live plugin's process with what belongs to it on the run's side."""

from __future__ import annotations

import itertools
import os
import shutil
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swift.plugin.sandbox.channel import ParentChannel
from swift.plugin.sandbox.core import SharedCore
from swift.plugin.sandbox.forked import Forked
from swift.plugin.sandbox.frames import Message
from swift.plugin.sandbox.limits import SandboxLimits
from swift.plugin.sandbox.placement import Placement
from swift.plugin.sandbox.scratch import ScratchMeter
from swift.plugin.sandbox.spawn import spawn

_NUMBERS = itertools.count(1)
_MAX_ANSWER = 16 * 2**20  # bytes of JSON; tensors do not count


class Running:
    """Starts the process. Its requests raise TimeoutError, ChannelError and ScratchFull; see process.py.

    Attributes:
        owner: id of the process that started it; a fork of that must leave it alone.
        scratch: the folder that it may write to.
        placement: where it finds tensors.
        offers: what the plugin registered.
        number: of the last request; no two processes of a run share one.
    """

    def __init__(self, path: Path, limits: SandboxLimits, native: Mapping[str, Path]) -> None:
        spawned = spawn(path, limits, native)
        self.owner = os.getpid()
        self.process = spawned.process
        self.scratch = spawned.scratch
        self._meter = ScratchMeter(spawned.scratch, limits.file_bytes)
        self._core = SharedCore(spawned.process.pid) if limits.threads == 1 else None
        late = self._core.leave if self._core is not None else lambda: None
        self._channel = ParentChannel(
            spawned.connection, spawned.output, self._meter.check, _MAX_ANSWER, late
        )
        self.placement = Placement(self.request, limits.timeout)
        self.offers: list[Any] = []
        self.number = 0
        self._clean = weakref.finalize(self, _clean_up, self.owner, spawned.process, spawned.scratch)

    def hello(self, seconds: float) -> Message:
        """What the process says once it is locked down, or why it is not."""
        return self._channel.receive(0, time.perf_counter() + seconds)

    def request(self, message: Message | bytes, seconds: float, descriptors: tuple[int, ...] = ()) -> Message:
        """Send a call, wait for its answer."""
        self.number = next(_NUMBERS)
        deadline = time.perf_counter() + seconds
        if self._core is not None:
            self._core.join()
        try:
            self._channel.send(self.number, message, deadline, descriptors)
            return self._channel.receive(self.number, deadline)
        finally:
            if self._core is not None:
                self._core.part()

    def wait(self, seconds: float) -> int | None:
        """Its status once it has ended, None if it does not."""
        return self.process.wait(seconds)

    def end(self) -> str:
        """Kill the process, reap it, remove its folder; what it printed last."""
        _kill(self.process)
        printed = self._channel.output_tail()
        self._channel.close()
        self._clean()
        return printed

    def disown(self) -> None:
        """Close this fork's copies of the descriptors, and leave the process to its owner."""
        self._clean.detach()
        self._channel.close()
        self.process.disown()


def _kill(process: Forked) -> None:
    process.kill()
    process.wait()


def _clean_up(owner: int, process: Forked, scratch: Path) -> None:
    if os.getpid() == owner:
        _kill(process)
        shutil.rmtree(scratch, ignore_errors=True)
