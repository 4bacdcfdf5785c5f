"""GET /health, /ready and /metrics."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from swift.infer.server.answers import Health, Ready
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.gateway.metrics import CONTENT_TYPE
from swift.infer.server.openapi import answers
from swift.infer.server.served import ServedModel


def add_status(app: FastAPI, served: ServedModel, gateway: Gateway) -> None:
    """Add what tells how the server is.

    /health: the engine lives (else a supervisor may restart the server); /ready: requests are taken (else a
    load balancer sends them elsewhere).
    """

    @app.get("/health", responses=answers(Health))
    async def health() -> JSONResponse:
        state = served.engine.health()
        body = Health(
            status="ok" if state.ready else "unavailable",
            running=state.running,
            waiting=state.waiting,
            detail=state.detail,
        )
        return JSONResponse(body.model_dump(), 200 if state.ready else 503)

    @app.get("/ready", responses=answers(Ready))
    async def ready() -> JSONResponse:
        state = served.engine.health()
        reason = "shutting down" if gateway.draining else "" if state.ready else state.detail or "no engine"
        body = Ready(status=reason or "ready")
        return JSONResponse(body.model_dump(), 503 if reason else 200)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(gateway.metrics.text(), media_type=CONTENT_TYPE)
