"""The way in and out of every request, as plain ASGI: streams pass through it untouched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swift.infer.server.errors import ERROR_KEY, ApiError
from swift.infer.server.gateway.exchange import SCOPE_KEY, Exchange, begin
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.gateway.receive import read_body, replayed


@dataclass(slots=True)
class GatewayMiddleware:
    """Checks a request, reads it, and notes how it ended; every answer carries x-request-id."""

    app: ASGIApp
    gateway: Gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless the gateway refuses it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = scope[SCOPE_KEY] = begin(scope)
        self.gateway.begin(exchange)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(exchange, message)
            await send(message)

        try:
            await self._pass(exchange, scope, receive, noted)
        except BaseException:
            exchange.status = 500  # answered further out
            exchange.error = exchange.error or "internal_error"
            raise
        finally:
            exchange.route = route_of(scope)
            exchange.error = exchange.error or scope.get(ERROR_KEY)
            self.gateway.end(exchange)

    async def _pass(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        config = self.gateway.config
        try:
            self.gateway.check(exchange, scope)
            most = int(config.max_body_mb * 2**20)
            body = await read_body(scope, receive, most, config.receive_timeout)
        except ApiError as error:
            await error.response()(scope, receive, send)
        else:
            await self.app(scope, replayed(body, receive), send)

    def _note(self, exchange: Exchange, message: Message) -> None:
        exchange.status = message["status"]
        extra: dict[str, Any] = {"x-request-id": exchange.id, **self.gateway.limits.headers(exchange.client)}
        message["headers"] = [
            *message.get("headers", ()),
            *((name.encode(), value.encode("latin-1")) for name, value in extra.items()),
        ]


def route_of(scope: Scope) -> str:
    """The path of the route that a request went to, or would have gone to; "unknown": there is none."""
    route = scope.get("route")
    if route is None:  # refused before it got there
        asked = (one for one in scope["app"].routes if one.matches(scope)[0] is not Match.NONE)
        route = next(asked, None)
    return getattr(route, "path", "") or "unknown"
