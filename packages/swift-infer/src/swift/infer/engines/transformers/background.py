"""Work that must not hold up the decoding loop, done by a few threads, each piece within a time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

from swift.core.errors import EngineError

Result = TypeVar("Result")


class Workers(Generic[Result]):
    """Daemon threads, started by the first piece of work: what hangs in native code stops no exit.

    Args:
        count: threads.
        seconds: after which a piece of work counts as failed, its waiting included.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._count = count
        self._seconds = seconds
        self._queue: SimpleQueue[tuple[Future[Result], Callable[[], Result]] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._guard = threading.Lock()

    def submit(self, work: Callable[[], Result], what: str) -> Future[Result]:
        """Do some work soon.

        Args:
            what: how the error of a time limit calls it.

        Returns:
            Its result, what it raised, or an EngineError after the time limit.
        """
        future: Future[Result] = Future()
        timer = threading.Timer(self._seconds, self._give_up, (future, what))
        timer.daemon = True
        timer.start()
        future.add_done_callback(lambda _: timer.cancel())
        self._start()
        self._queue.put((future, work))
        return future

    def close(self) -> None:
        """Let the threads end when they are done with what they do."""
        for _ in self._threads:
            self._queue.put(None)

    def _start(self) -> None:
        with self._guard:
            while len(self._threads) < self._count:
                thread = threading.Thread(target=self._work, name="swift-prepare", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            future, work = job
            if future.done():
                continue
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the one who waits has to learn of it
                with suppress(InvalidStateError):
                    future.set_exception(error)
            else:
                with suppress(InvalidStateError):
                    future.set_result(result)

    def _give_up(self, future: Future[Result], what: str) -> None:
        with suppress(InvalidStateError):
            future.set_exception(
                EngineError(f"{what} took more than {self._seconds:g} seconds", "make it simpler or smaller")
            )
