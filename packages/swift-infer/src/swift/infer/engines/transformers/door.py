"""Where requests come in and deltas go out: any thread hands over, the thread that drives takes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from queue import Empty, SimpleQueue
from typing import Any

from swift.core.errors import EngineError
from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.engines.transformers.mail import Box, send
from swift.infer.engines.transformers.prepare import Prepared, Preparer, needs_preparing, result_of


class Door:
    """Requests that come, those that are being prepared, those that leave, and the boxes of their deltas.

    Attributes:
        wake: set when something has come.
    """

    def __init__(self, preparer: Preparer) -> None:
        self.wake = threading.Event()
        self._preparer = preparer
        self._guard = threading.Lock()
        self._boxes: dict[str, Box] = {}
        self._preparing: dict[str, Future[Prepared]] = {}
        self._arrivals: SimpleQueue[Prepared] = SimpleQueue()
        self._departures: SimpleQueue[str] = SimpleQueue()

    @property
    def quiet(self) -> bool:
        """Whether nobody stands before it; some may still be prepared."""
        return self._arrivals.empty() and self._departures.empty()

    @property
    def waiting(self) -> int:
        """Requests that have not been taken."""
        return self._arrivals.qsize() + len(self._preparing)

    def enter(self, request: GenerationRequest, box: Box) -> None:
        """Let a request come, at once or when it is prepared.

        Raises:
            EngineError: its id is in use.
        """
        with self._guard:
            if request.request_id in self._boxes:
                raise EngineError(
                    f"request id {request.request_id!r} is in use", "give every request its own id"
                )
            self._boxes[request.request_id] = box
        if needs_preparing(request):
            self._prepare(request)
        else:
            self._arrivals.put(Prepared(request))
            self.wake.set()

    def leave(self, request_id: str) -> None:
        """Let a request go; unknown and finished ones are ignored."""
        self._departures.put(request_id)
        self.wake.set()

    def arrived(self) -> Iterator[Prepared]:
        """Take those that have come, without those that left while they were prepared."""
        for one in drained(self._arrivals):
            if needs_preparing(one.request) and self._preparing.pop(one.request.request_id, None) is None:
                continue
            yield one

    def departed(self) -> set[str]:
        """Take the names of those that leave; those that were being prepared are told at once."""
        leaving = set(drained(self._departures))
        unready = [one for one in leaving if self._preparing.pop(one, None) is not None]
        self.deliver(TokenDelta(request_id=one, finish_reason="abort") for one in unready)
        return leaving

    def absent(self) -> list[str]:
        """Take the names of all that have come or are being prepared; nobody is left before the door."""
        names = dict.fromkeys([one.request.request_id for one in drained(self._arrivals)])
        names |= dict.fromkeys(self._preparing)
        self._preparing.clear()
        return list(names)

    def wait_for_one(self) -> None:
        """Until one of those that are being prepared is ready."""
        wait(list(self._preparing.values()), return_when=FIRST_COMPLETED)

    def deliver(self, deltas: Iterable[TokenDelta]) -> None:
        """Put deltas into their boxes; a last one takes its box away."""
        letters = []
        for delta in deltas:
            if delta.finish_reason is None:
                box = self._boxes.get(delta.request_id)
            else:
                box = self._boxes.pop(delta.request_id, None)
            if box is not None:
                letters.append((box, delta))
        send(letters)

    def _prepare(self, request: GenerationRequest) -> None:
        """Let a request arrive when it is ready, unless it has left by then."""
        future = self._preparer.submit(request)
        self._preparing[request.request_id] = future

        def arrive(done: Future[Prepared]) -> None:
            if self._preparing.get(request.request_id) is done:
                self._arrivals.put(result_of(done, request))
                self.wake.set()

        future.add_done_callback(arrive)


def drained(queue: SimpleQueue[Any]) -> Iterator[Any]:
    """Everything a queue holds now."""
    with contextlib.suppress(Empty):
        while True:
            yield queue.get_nowait()
