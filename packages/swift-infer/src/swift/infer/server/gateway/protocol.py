"""Connections: how long a client may take to send headers or to read, how long headers are, how many come."""

from __future__ import annotations

import asyncio
import json
from asyncio import TimerHandle
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from swift.infer.server.errors import ApiError

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as Protocol
else:
    Protocol = AutoHTTPProtocol


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection may take, and how many there may be.

    Attributes:
        headers_seconds: from the first byte of a request (or the connection) to the end of its headers.
        stalled_seconds: for which a client may leave what was sent to it unread.
        linger_seconds: for which the rest of a refused body is thrown away, so that its sender reads why.
        headers_bytes: size of all headers of a request.
        connections: open at a time.
    """

    headers_seconds: float = 30.0
    stalled_seconds: float = 60.0
    linger_seconds: float = 5.0
    headers_bytes: int = 65_536
    connections: int = 8192


class LimitedProtocol(Protocol):
    """uvicorn's protocol with limits for what it would wait for, or store, without end."""

    limits = ConnectionLimits()

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._waiting: TimerHandle | None = None
        self._stalled: TimerHandle | None = None
        self._unanswered = 0

    # uvicorn too takes less here than asyncio's BaseProtocol, whose transport need not be one to write to
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            most = self.limits.connections
            self._refuse(
                503, f"{most} connections are open, the most that may: try later", "too_many_connections"
            )
        else:
            self._await_request(self.limits.headers_seconds)

    def data_received(self, data: bytes) -> None:
        """Take bytes; those that belong to no request yet are counted and timed."""
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._unanswered = 0
            self._stop_waiting()
        elif cycle is not None and cycle.more_body:
            self._await_request(self.limits.linger_seconds)
        else:
            self._unanswered += len(data)
            self._await_request(self.limits.headers_seconds)
            if self._unanswered > self.limits.headers_bytes:
                most = self.limits.headers_bytes
                self._refuse(431, f"the headers are larger than {most} bytes", "headers_too_large")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection and its timers."""
        self._stop_waiting()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _await_request(self, seconds: float) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(seconds, self._too_late)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_late(self) -> None:
        if self._unanswered:
            self._refuse(408, "the headers did not come in time", "receive_timeout")
        else:  # nothing was asked
            self.transport.close()

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer what is no request yet, and hang up."""
        if self.transport.is_closing():
            return
        body = json.dumps(ApiError(message, status=status, code=code).body()).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def limited(limits: ConnectionLimits) -> type[LimitedProtocol]:
    """The protocol with these limits."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits})
