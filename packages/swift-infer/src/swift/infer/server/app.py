"""The ASGI app: routes, errors, and the gateway before them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI

from swift.infer.server.errors import install_handlers
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.gateway.middleware import GatewayMiddleware
from swift.infer.server.openapi import BEARER
from swift.infer.server.routes.adapters import add_adapters
from swift.infer.server.routes.encoding import add_encoding
from swift.infer.server.routes.generation import add_generation
from swift.infer.server.routes.models import add_models
from swift.infer.server.routes.status import add_status
from swift.infer.server.served import ServedModel


def create_app(served: ServedModel, gateway: Gateway | None = None) -> FastAPI:
    """An ASGI app that offers one model; it closes engine and gateway when it shuts down."""
    gateway = gateway or Gateway()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        gateway.start()
        yield
        served.engine.close()
        gateway.close()

    app = FastAPI(title="swift", lifespan=lifespan, dependencies=[Depends(BEARER)])
    app.add_middleware(GatewayMiddleware, gateway=gateway)
    install_handlers(app)
    add_generation(app, served, gateway)
    add_encoding(app, served, gateway)
    add_models(app, served)
    add_adapters(app, served)
    add_status(app, served, gateway)
    return app
