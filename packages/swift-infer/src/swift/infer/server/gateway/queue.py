"""The queue before the engine: so many at once, so many waiting, fair between clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from swift.infer.server.errors import ApiError
from swift.infer.server.gateway.limits import retry_after

SMOOTHING = 0.1  # share of the newest duration in the mean one


@dataclass(slots=True, eq=False)
class _Waiter:
    weight: int
    turn: asyncio.Future[None]


@dataclass(slots=True)
class FairQueue:
    """First come, first served within a client; between clients one each in turn.

    A request counts as many places as it asks the engine for answers. Nobody overtakes a large one that
    waits for room, so that it gets its turn.

    Attributes:
        most_running: places before the engine.
        most_waiting: requests that may wait for one.
    """

    most_running: int
    most_waiting: int
    running: int = 0
    waiting: int = 0
    _clients: OrderedDict[str, deque[_Waiter]] = field(default_factory=OrderedDict)
    _mean_seconds: float = 1.0

    @contextlib.asynccontextmanager
    async def place(self, client: str, answers: int = 1) -> AsyncIterator[None]:
        """Wait for a place and hold it.

        Raises:
            ApiError: 429 with Retry-After: too many wait already.
        """
        weight = min(answers, self.most_running)
        await self._enter(client, weight)
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            yield
        finally:
            self._mean_seconds += SMOOTHING * (clock() - started - self._mean_seconds)
            self._leave(weight)

    async def _enter(self, client: str, weight: int) -> None:
        if not self.waiting and self.running + weight <= self.most_running:
            self.running += weight
            return
        if self.waiting >= self.most_waiting:
            seconds = self._mean_seconds * (1 + self.waiting / self.most_running)
            raise ApiError(
                f"{self.waiting} requests wait already, the most that may: try again later",
                status=429,
                code="queue_full",
                headers=retry_after(seconds),
            )
        waiter = _Waiter(weight, asyncio.get_running_loop().create_future())
        self._clients.setdefault(client, deque()).append(waiter)
        self.waiting += 1
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled():  # its turn came at the same moment
                self._leave(weight)
            else:
                self._remove(client, waiter)
                self._admit()  # it may have held up smaller ones behind it
            raise

    def _leave(self, weight: int) -> None:
        self.running -= weight
        self._admit()

    def _admit(self) -> None:
        while self._clients:
            client, line = next(iter(self._clients.items()))
            waiter = line[0]
            if waiter.turn.cancelled():  # its task has not noticed yet
                self._remove(client, waiter)
                continue
            if self.running + waiter.weight > self.most_running:
                return
            self._remove(client, waiter)
            if line:
                self._clients.move_to_end(client)
            self.running += waiter.weight
            waiter.turn.set_result(None)

    def _remove(self, client: str, waiter: _Waiter) -> None:
        line: deque[_Waiter] = self._clients.get(client, deque())
        if waiter not in line:
            return
        line.remove(waiter)
        self.waiting -= 1
        if not line:
            del self._clients[client]
