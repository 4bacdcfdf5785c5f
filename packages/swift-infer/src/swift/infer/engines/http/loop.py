"""An event loop in a thread of its own, for callers without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from queue import SimpleQueue

from swift.core.errors import EngineError
from swift.core.types import GenerationRequest, TokenDelta

LONGEST_END = 5.0  # seconds that closing the connections of unfinished streams may take
Stream = Callable[[GenerationRequest], AsyncGenerator[TokenDelta, None]]


@dataclass(frozen=True)
class _Merge:
    """Several streams into one queue: deltas, None where a stream has ended, or what it raised."""

    stream: Stream
    requests: Sequence[GenerationRequest]
    arrived: SimpleQueue[TokenDelta | BaseException | None] = field(default_factory=SimpleQueue)
    ended: threading.Event = field(default_factory=threading.Event)

    async def drain_all(self) -> None:
        """Run them all; cancelling this closes those that are unfinished."""
        tasks = [asyncio.create_task(self._drain(request)) for request in self.requests]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            try:
                await asyncio.gather(*tasks, return_exceptions=True)
            finally:  # a cancellation may come here too
                self.ended.set()

    async def _drain(self, request: GenerationRequest) -> None:
        try:
            async with aclosing(self.stream(request)) as deltas:
                async for delta in deltas:
                    self.arrived.put(delta)
            self.arrived.put(None)
        except asyncio.CancelledError:
            self.arrived.put(EngineError("the engine was closed"))
            raise
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            self.arrived.put(error)


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
        if not requests:
            return
        merge = _Merge(stream, requests)
        work = asyncio.run_coroutine_threadsafe(merge.drain_all(), self._running())
        try:
            unfinished = len(requests)
            while unfinished:
                item = merge.arrived.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    unfinished -= 1
                else:
                    yield item
        finally:
            work.cancel()
            merge.ended.wait(LONGEST_END)  # the requests' ids are free again when this returns

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
