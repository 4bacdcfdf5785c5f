"""From what is generated to what is sent: one JSON object, or server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from swift.core.types import GenerationRequest
from swift.infer.server.errors import ApiError
from swift.infer.server.generate import Deltas, merged, while_connected
from swift.infer.server.schema import Answer, Sampled
from swift.infer.server.served import ServedModel

DONE = b"data: [DONE]\n\n"


class Work(Protocol):
    """A checked request: what the engine is asked, and how its deltas become an answer."""

    @property
    def requests(self) -> Sequence[GenerationRequest]:
        """What the engine is asked."""
        ...

    async def answer(self, deltas: Deltas) -> Answer:
        """The whole answer."""
        ...

    def events(self, deltas: Deltas) -> AsyncIterator[bytes]:
        """The answer as server-sent events, without the closing [DONE]."""
        ...


async def respond(work: Work, served: ServedModel, body: Sampled, request: Request) -> Response:
    """Generate, and answer as the body asks."""
    deltas = merged(served.engine, work.requests)
    if body.stream:
        return StreamingResponse(_events(work, deltas), media_type="text/event-stream")
    answer = await while_connected(request, work.answer(deltas))
    return Response(answer.model_dump_json(), media_type="application/json")


async def _events(work: Work, deltas: Deltas) -> AsyncIterator[bytes]:
    try:
        async for piece in work.events(deltas):
            yield piece
    except ApiError as error:
        yield f"data: {json.dumps(error.body())}\n\n".encode()
    yield DONE
