"""The page and the API on one port."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

API_PATHS = ("/v1", "/health", "/ready", "/metrics", "/openapi.json", "/docs")


@dataclass(slots=True)
class Beside:
    """ASGI app: requests of the API go to the API with its gateway, all others to the page.

    The page keeps connections open for as long as a browser shows it; the gateway, which waits for answers
    before the server ends, must not see those.
    """

    api: FastAPI
    page: FastAPI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the one it is for; start and end both."""
        if scope["type"] == "lifespan":
            await _lifespan(self, receive, send)
            return
        path = scope["path"]
        ours = any(path == one or path.startswith(one + "/") for one in API_PATHS)
        await (self.api if ours else self.page)(scope, receive, send)


@contextlib.asynccontextmanager
async def _both(apps: Beside) -> AsyncIterator[None]:
    async with (
        apps.api.router.lifespan_context(apps.api),
        apps.page.router.lifespan_context(apps.page),
    ):
        yield


async def _lifespan(apps: Beside, receive: Receive, send: Send) -> None:
    await receive()
    async with _both(apps):
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
