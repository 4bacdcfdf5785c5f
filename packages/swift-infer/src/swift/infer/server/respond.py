"""From what is generated to what is sent: one JSON object, or server-sent events."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Protocol

from fastapi import Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from swift.core.errors import EngineError
from swift.core.protocols import Engine
from swift.core.types import GenerationRequest
from swift.infer.server.answers import ChatAnswer, TextAnswer
from swift.infer.server.errors import ApiError, engine_unavailable
from swift.infer.server.gateway.exchange import exchange_of
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.generate import Deltas, merged
from swift.infer.server.schema import Sampled

DONE = b"data: [DONE]\n\n"


class Work(Protocol):
    """A checked request: what the engine is asked, and how its deltas become an answer."""

    @property
    def requests(self) -> Sequence[GenerationRequest]:
        """What the engine is asked."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompts."""
        ...

    async def answer(self, deltas: Deltas) -> ChatAnswer | TextAnswer:
        """The whole answer."""
        ...

    def events(self, deltas: Deltas) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events, without the closing [DONE]."""
        ...


async def respond(work: Work, engine: Engine, gateway: Gateway, body: Sampled, request: Request) -> Response:
    """Generate, and answer as the body asks."""
    if body.stream:
        return EventStream(work, engine, gateway, body.model)
    async with generating(work, engine, gateway, body.model, request.scope, request.receive) as deltas:
        answer = await work.answer(deltas)
    return Response(answer.model_dump_json(), media_type="application/json")


@contextlib.asynccontextmanager
async def generating(
    work: Work, engine: Engine, gateway: Gateway, model: str, scope: Scope, receive: Receive
) -> AsyncIterator[Deltas]:
    """The deltas of a request, once it has its turn.

    Raises:
        ApiError: as Gateway.admitted(), and 503 when the engine fails.
    """
    most = work.prompt_tokens + sum(one.sampling.max_tokens for one in work.requests)
    admitted = gateway.admitted(scope, receive, model=model, tokens=most, answers=len(work.requests))
    async with admitted as exchange:
        exchange.prompt_tokens = work.prompt_tokens
        try:
            async with contextlib.aclosing(merged(engine, work.requests, exchange.saw)) as deltas:
                yield deltas
        except EngineError as error:
            raise engine_unavailable(error.problem) from error


class EventStream(Response):
    """Sends events as they come.

    The status line waits for the first event: whatever fails before it (queue full, engine down, prompt
    refused) has a status of its own. What fails later ends the stream with an event that holds the error.
    """

    media_type = "text/event-stream"

    def __init__(self, work: Work, engine: Engine, gateway: Gateway, model: str) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._work, self._engine, self._gateway, self._model = work, engine, gateway, model
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Generate and send."""
        exchange_of(scope).stream = True
        try:
            await self._stream(scope, receive, send)
        except ApiError as error:
            if not self._started:
                raise
            await self._send(send, f"data: {json.dumps(error.body())}\n\n".encode())
        await self._send(send, DONE, more=False)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = self._work
        async with (
            generating(work, self._engine, self._gateway, self._model, scope, receive) as deltas,
            contextlib.aclosing(work.events(deltas)) as events,
        ):
            async for event in events:
                if event:
                    await self._send(send, event)

    async def _send(self, send: Send, event: bytes, *, more: bool = True) -> None:
        if not self._started:
            self._started = True
            headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": event, "more_body": more})
