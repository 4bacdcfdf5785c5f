"""An event loop in a thread of its own, for callers without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from queue import SimpleQueue

from swift.core.errors import EngineError
from swift.core.types import GenerationRequest, TokenDelta

Stream = Callable[[GenerationRequest], AsyncGenerator[TokenDelta]]


class LoopThread:
    """Runs streams for generate(); the thread starts with the first one."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def merged(self, stream: Stream, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        """Deltas of all requests as they come; leaving early closes the unfinished streams.

        Raises:
            Exception: what one of the streams raised.
        """
        arrived: SimpleQueue[TokenDelta | BaseException | None] = SimpleQueue()

        async def drain(request: GenerationRequest) -> None:
            try:
                async with aclosing(stream(request)) as deltas:
                    async for delta in deltas:
                        arrived.put(delta)
                arrived.put(None)
            except asyncio.CancelledError:
                arrived.put(EngineError("the engine was closed"))
                raise
            except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
                arrived.put(error)

        loop = self._running()
        tasks = [asyncio.run_coroutine_threadsafe(drain(request), loop) for request in requests]
        try:
            open_streams = len(tasks)
            while open_streams:
                item = arrived.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    open_streams -= 1
                else:
                    yield item
        finally:
            for task in tasks:
                task.cancel()

    def close(self) -> None:
        """Stop the thread; safe to call twice."""
        with self._guard:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="swift-http-engine", daemon=True
                )
                self._thread.start()
            return self._loop


async def _cancel_all() -> None:
    """End every other task of the running loop."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
