"""What a client sends: so much, within so long."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope

from swift.infer.server.errors import ApiError
from swift.infer.server.gateway.exchange import header

CLOSE = {"Connection": "close"}


async def read_body(scope: Scope, receive: Receive, most: int, seconds: float) -> bytes:
    """The body of a request.

    Args:
        most: bytes; a body that announces more is refused before any of it is read.
        seconds: within which all of it must have come.

    Raises:
        ApiError: 413 too large, 408 too slow, 400 with a length that is none, 499 client gone.
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(seconds):
            return await _read(receive, most)
    except TimeoutError:
        raise ApiError(
            f"the body did not come within {seconds:g} s", status=408, code="receive_timeout", headers=CLOSE
        ) from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """A receive that gives a body that was read already, and then what follows it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _read(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    read, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError("the client has gone before its request was complete", 499, code="disconnected")
        part = message.get("body", b"")
        read += len(part)
        if read > most:
            raise _too_large(most)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large(most: int) -> ApiError:
    return ApiError(
        f"the body is larger than {most} bytes: send less, or raise infer.max_body_mb",
        status=413,
        code="request_too_large",
    )
