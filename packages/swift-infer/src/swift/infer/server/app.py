"""The routes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from swift.infer.server.body import BodyLimit
from swift.infer.server.chat import Chat
from swift.infer.server.completions import Completion
from swift.infer.server.errors import install_handlers
from swift.infer.server.generate import while_connected
from swift.infer.server.schema import ChatRequest, CompletionRequest, Health, ModelCard, ModelList
from swift.infer.server.served import ServedModel


def create_app(served: ServedModel) -> FastAPI:
    """An ASGI app that offers one model; it closes the engine when it shuts down."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        served.engine.close()

    app = FastAPI(title="swift", lifespan=lifespan)
    app.add_middleware(BodyLimit)
    install_handlers(app)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        # rendering and tokenising a long chat takes a while: the loop goes on with the others meanwhile
        return await _respond(await asyncio.to_thread(Chat, served, body), body.stream, request)

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        return await _respond(await asyncio.to_thread(Completion, served, body), body.stream, request)

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[_card(served)])

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> ModelCard:
        served.check_name(name)
        return _card(served)

    @app.get("/health")
    async def health() -> JSONResponse:
        state = served.engine.health()
        body = Health(
            status="ok" if state.ready else "unavailable",
            running=state.running,
            waiting=state.waiting,
            detail=state.detail,
        )
        return JSONResponse(body.model_dump(), 200 if state.ready else 503)

    return app


async def _respond(work: Chat | Completion, stream: bool, request: Request) -> Response:
    if stream:
        return StreamingResponse(work.events(), media_type="text/event-stream")
    answer = await while_connected(request, work.answer())
    return Response(answer.model_dump_json(), media_type="application/json")


def _card(served: ServedModel) -> ModelCard:
    return ModelCard(id=served.name, created=served.created, max_model_len=served.max_length)
