"""Keys, limits, queue, deadline, log and metrics of one server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from starlette.types import Receive

from swift.core.config.schema import ServerConfig
from swift.infer.server.errors import ApiError, engine_unavailable
from swift.infer.server.gateway.exchange import Exchange, exchange_of, header
from swift.infer.server.gateway.keys import read_keys
from swift.infer.server.gateway.limits import RateLimits
from swift.infer.server.gateway.log import RequestLog
from swift.infer.server.gateway.metrics import Metrics
from swift.infer.server.gateway.queue import FairQueue

OPEN_PATHS = frozenset({"/health", "/ready"})
LOOKS = OPEN_PATHS | {"/metrics"}
DRAINING = "the server is shutting down: ask another, or later"


class Gateway:
    """What every request passes on its way to the engine.

    Raises:
        ConfigError: keys or log that cannot be used.
    """

    def __init__(self, config: ServerConfig | None = None) -> None:
        self.config = config or ServerConfig.model_validate({})
        self.keys = read_keys(self.config)
        self.limits = RateLimits(self.config)
        self.queue = FairQueue(self.config.max_concurrent, self.config.max_queue)
        self.metrics = Metrics()
        self.draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[Exchange] = set()
        self._over: ApiError | None = None
        log = self.config.request_log
        self._log = RequestLog(Path(log)) if log is not None else None
        self.metrics.gauge("running_requests", "Places taken before the engine", lambda: self.queue.running)
        self.metrics.gauge("waiting_requests", "Requests in the queue", lambda: self.queue.waiting)

    def start(self) -> None:
        """Remember the loop that serves; called in it."""
        self._loop = asyncio.get_running_loop()

    @property
    def busy(self) -> bool:
        """Whether a request is on its way."""
        return bool(self._open)

    def begin(self, exchange: Exchange) -> None:
        """Take notice of a request."""
        self._open.add(exchange)

    def check(self, exchange: Exchange, scope: Mapping[str, Any]) -> None:
        """Whether a request may go on, as far as its headers tell.

        Raises:
            ApiError: 503 while draining, 401 without a key, 429 over a limit.
        """
        path = scope["path"]
        if path in OPEN_PATHS or (path == "/metrics" and not self.config.metrics_need_key):
            return
        if self.draining and path != "/metrics":
            raise ApiError(DRAINING, 503, code="shutting_down", headers={"Retry-After": "5"})
        if self.keys:
            exchange.key = exchange.client = self.keys.name_of(header(scope, b"authorization"))
        if scope["method"] == "POST":
            self.limits.take(exchange.client, "requests", 1)

    def end(self, exchange: Exchange) -> None:
        """Write down how a request ended."""
        self._open.discard(exchange)
        if exchange.error is None and exchange.status >= 400:
            exchange.error = f"http_{exchange.status}"
        self.metrics.finished(exchange, time.perf_counter() - exchange.started)
        looks = exchange.route in LOOKS and exchange.status != 401  # whoever looks without a key is noted
        if self._log is not None and not looks:
            self._log.write(exchange.record())

    @contextlib.asynccontextmanager
    async def admitted(
        self, scope: Mapping[str, Any], receive: Receive, *, model: str, tokens: int, answers: int = 1
    ) -> AsyncIterator[Exchange]:
        """Hold a place before the engine; the block ends with an error when the request must end.

        Args:
            tokens: most that the request may use, its prompt included. What it did use, as its exchange
                says at the end (prompt_tokens + completion_tokens), is what the limits count in the end.
            answers: requests that the engine gets.

        Raises:
            ApiError: 429 over a limit or with a full queue, 504 at the deadline, 499 when the client has
                gone, 503 when the server shuts down or the engine has died.
        """
        exchange = exchange_of(scope)
        exchange.model = model
        if self._over is not None:
            raise self._over
        exchange.observe_gap = self.metrics.gap_observer(model)
        self.limits.take(exchange.client, "tokens", tokens)
        try:
            with exchange.interrupt, self._deadline(exchange):
                async with _watched(exchange, receive), self.queue.place(exchange.client, answers):
                    exchange.queued = time.perf_counter() - exchange.started
                    yield exchange
        except ApiError as error:
            exchange.error = error.code
            raise
        finally:
            used = exchange.prompt_tokens + exchange.completion_tokens
            self.limits.correct(exchange.client, tokens, used)

    def interrupt_all(self, error: ApiError) -> None:
        """End every request that is queued or generates; from the thread of the loop only."""
        for exchange in self._open:
            exchange.interrupt.interrupt(error)

    def engine_died(self) -> None:
        """End every request that is queued or generates; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            error = engine_unavailable("the engine has died and is being started anew: try again")
            self._loop.call_soon_threadsafe(self.interrupt_all, error)

    def end_all(self, error: ApiError) -> None:
        """End every request, and those that are not yet so far."""
        self._over = error
        self.interrupt_all(error)

    def close(self) -> None:
        """Write what is left of the log; safe to call twice."""
        if self._log is not None:
            self._log.close()

    @contextlib.contextmanager
    def _deadline(self, exchange: Exchange) -> Iterator[None]:
        seconds = self.config.request_timeout
        if seconds is None:
            yield
            return
        error = ApiError(
            f"the request took longer than {seconds:g} s: ask for less at a time, or raise "
            "infer.request_timeout",
            status=504,
            code="request_timeout",
        )
        left = seconds - (time.perf_counter() - exchange.started)
        timer = asyncio.get_running_loop().call_later(max(0.0, left), exchange.interrupt.interrupt, error)
        try:
            yield
        finally:
            timer.cancel()


@contextlib.asynccontextmanager
async def _watched(exchange: Exchange, receive: Receive) -> AsyncIterator[None]:
    """Interrupt the block when the client goes away."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        exchange.interrupt.interrupt(ApiError("the client has disconnected", 499, code="disconnected"))

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
