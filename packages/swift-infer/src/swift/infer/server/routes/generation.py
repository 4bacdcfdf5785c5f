"""POST /v1/chat/completions and /v1/completions."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from fastapi.responses import Response

from swift.infer.server.chat import Chat
from swift.infer.server.completions import Completion
from swift.infer.server.respond import respond
from swift.infer.server.schema import ChatRequest, CompletionRequest
from swift.infer.server.served import ServedModel


def add_generation(app: FastAPI, served: ServedModel) -> None:
    """Add the endpoints that generate."""

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        # rendering and tokenising a long chat takes a while: the loop goes on with the others meanwhile
        return await respond(await asyncio.to_thread(Chat, served, body), served, body, request)

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        return await respond(await asyncio.to_thread(Completion, served, body), served, body, request)
