"""The ASGI app: routes, errors, limits."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from swift.infer.server.body import BodyLimit
from swift.infer.server.errors import install_handlers
from swift.infer.server.routes.generation import add_generation
from swift.infer.server.routes.models import add_models
from swift.infer.server.routes.status import add_status
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
    add_generation(app, served)
    add_models(app, served)
    add_status(app, served)
    return app
