"""GET /health."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from swift.infer.server.schema import Health
from swift.infer.server.served import ServedModel


def add_status(app: FastAPI, served: ServedModel) -> None:
    """Add what tells whether the server answers."""

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
