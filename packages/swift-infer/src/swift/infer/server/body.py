"""How much a client may send."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 32 * 2**20  # a context of a million tokens takes about a sixth of it


@dataclass(slots=True)
class BodyLimit:
    """ASGI middleware that ends a request (413) whose body grows too large, instead of holding it all."""

    app: ASGIApp
    most: int = MAX_BODY_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count what its body brings."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most:
                raise HTTPException(413, f"the body is larger than {self.most} bytes")
            return message

        await self.app(scope, counted, send)
