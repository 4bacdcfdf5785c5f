"""A gate that requests go through one by one, and that closes while something is changed under them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

from swift.core.errors import EngineError


class Gate:
    """Requests of any event loop are inside from their first token to their last.

    Attributes:
        is_closed: a change is going on, or waits for those inside to leave.
    """

    def __init__(self) -> None:
        self._guard = threading.Condition()
        self._inside = 0
        self._held: list[Future[None]] = []
        self.is_closed = False

    @property
    def held(self) -> int:
        """How many wait before it."""
        return len(self._held)

    @asynccontextmanager
    async def inside(self) -> AsyncIterator[None]:
        """Wait until the gate is open, and keep it from closing during the block."""
        while (opened := self._entered()) is not None:
            try:
                await asyncio.wrap_future(opened)
            finally:
                self._forget(opened)
        try:
            yield
        finally:
            with self._guard:
                self._inside -= 1
                self._guard.notify_all()

    @contextmanager
    def closed(self, patience: float) -> Iterator[None]:
        """Hold new requests, and run the block once those inside have left; one thread at a time.

        Raises:
            EngineError: some are still inside after `patience` seconds; the gate is open again then.
        """
        with self._guard:
            self.is_closed = True
            empty = self._guard.wait_for(lambda: self._inside == 0, patience)
            staying = self._inside
        try:
            if not empty:
                raise EngineError(
                    f"{staying} requests still run after {patience:g} s, and this has to wait for them",
                    "end them, or raise infer.timeout",
                )
            yield
        finally:
            with self._guard:
                self.is_closed = False
                held, self._held = self._held, []
                for opened in held:
                    if opened.set_running_or_notify_cancel():
                        opened.set_result(None)

    def _entered(self) -> Future[None] | None:
        """None: inside; else what is done when the gate opens."""
        with self._guard:
            if not self.is_closed:
                self._inside += 1
                return None
            opened: Future[None] = Future()
            self._held.append(opened)
            return opened

    def _forget(self, opened: Future[None]) -> None:
        with self._guard:
            if opened in self._held:
                self._held.remove(opened)
