"""Ending a request from outside its task: deadline, client gone, shutdown, dead engine."""

from __future__ import annotations

import asyncio
from types import TracebackType

from swift.infer.server.errors import ApiError


class Interrupt:
    """Within its `with` block, interrupt() makes the block end with the error given.

    The task is cancelled, so that whatever it waits for ends cleanly; on the way out the cancellation becomes
    the error (as asyncio.timeout makes it a TimeoutError). A cancellation by others passes through.
    """

    __slots__ = ("_error", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._error: ApiError | None = None

    def __enter__(self) -> Interrupt:
        self._task = asyncio.current_task()
        return self

    def interrupt(self, error: ApiError) -> None:
        """End the block, unless it has ended or is ending already; from the thread of the loop only."""
        if self._task is not None and self._error is None:
            self._error = error
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._error is None or task is None:
            return
        others = task.uncancel()
        if kind is asyncio.CancelledError and not others:
            raise self._error from raised
