"""Who may ask a vLLM server that we manage: whoever has its key, whatever the path.

vLLM's own key guards /v1 and its like alone, and leaves what its development mode adds to anybody on this
machine.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

KEY = "VLLM_API_KEY"
OPEN = ("/health",)
Application = Callable[[Any, Any, Any], Awaitable[None]]


class Door:
    """ASGI middleware: 401 for a request without `Authorization: Bearer $VLLM_API_KEY`."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._wanted = f"Bearer {os.environ[KEY]}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN or self._knows(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            body = json.dumps({"error": {"message": "wrong key", "code": 401}}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _knows(self, headers: list[tuple[bytes, bytes]]) -> bool:
        told = next((value for name, value in headers if name == b"authorization"), b"")
        return secrets.compare_digest(told, self._wanted)
