"""POST /v1/chat/completions and /v1/completions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import Response

from swift.infer.server.answers import ChatAnswer, TextAnswer
from swift.infer.server.chat import Chat
from swift.infer.server.completions import Completion
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.openapi import described
from swift.infer.server.respond import respond
from swift.infer.server.schema import ChatRequest, CompletionRequest
from swift.infer.server.served import ServedModel

SHORT = 4096  # bytes of a body whose prompt takes less time to read than another thread to be woken

Body = TypeVar("Body", ChatRequest, CompletionRequest)
Made = TypeVar("Made", Chat, Completion)


def add_generation(app: FastAPI, served: ServedModel, gateway: Gateway) -> None:
    """Add the endpoints that generate."""

    @app.post("/v1/chat/completions", **described(ChatAnswer, streams=True))
    async def chat(body: ChatRequest, request: Request) -> Response:
        return await respond(await _made(Chat, served, body, request), served.engine, gateway, body, request)

    @app.post("/v1/completions", **described(TextAnswer, streams=True))
    async def completions(body: CompletionRequest, request: Request) -> Response:
        work = await _made(Completion, served, body, request)
        return await respond(work, served.engine, gateway, body, request)


async def _made(
    make: Callable[[ServedModel, Body], Made], served: ServedModel, body: Body, request: Request
) -> Made:
    """The work of a request; rendering and tokenising a long one must not hold up the others."""
    if int(request.headers.get("content-length", SHORT)) < SHORT:
        return make(served, body)
    return await asyncio.to_thread(make, served, body)
