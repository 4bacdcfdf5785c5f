"""One HTTP request on its way, and what is known of it when it ends."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swift.core.types import TokenDelta
from swift.infer.server.gateway.interrupt import Interrupt

SCOPE_KEY = "swift.exchange"
SANE_ID = re.compile(rb"[!-~]{1,128}")


@dataclass(slots=True, eq=False)
class Exchange:
    """A request, from its headers to the end of its answer. Times are of time.perf_counter().

    Attributes:
        id: x-request-id: the client's own, where it sent a sane one.
        client: who shares its limits: name of the key, or address.
        key: name of the key, where keys are asked for.
        queued: seconds before the engine.
        first, last: when tokens came.
        error: code of what went wrong.
        observe_gap: gets the seconds between two tokens of one answer.
    """

    id: str
    method: str
    client: str
    key: str | None = None
    started: float = field(default_factory=time.perf_counter)
    route: str = ""
    model: str = ""
    stream: bool = False
    status: int = 0
    queued: float = 0.0
    first: float | None = None
    last: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    error: str | None = None
    interrupt: Interrupt = field(default_factory=Interrupt)
    observe_gap: Callable[[float], None] | None = None

    def saw(self, delta: TokenDelta) -> None:
        """Count a delta of any of the answers; called for every one, so it does little."""
        count = len(delta.token_ids)
        if count or delta.text:
            now = time.perf_counter()
            if self.last is None:
                self.first = now
            elif self.observe_gap is not None:
                self.observe_gap((now - self.last) / (count or 1))
            self.last = now
            self.completion_tokens += count
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
            if delta.usage is not None and not count:
                self.prompt_tokens, made = delta.usage
                self.completion_tokens = max(self.completion_tokens, made)

    def record(self) -> dict[str, Any]:
        """The line of the request log, without its time."""
        return {
            "request_id": self.id,
            "key": self.key,
            "method": self.method,
            "route": self.route,
            "model": self.model or None,
            "stream": self.stream,
            "status": self.status,
            "error": self.error,
            "seconds": round(time.perf_counter() - self.started, 6),
            "queue_seconds": round(self.queued, 6),
            "first_token_seconds": None if self.first is None else round(self.first - self.started, 6),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "finish_reason": self.finish_reason,
        }


def begin(scope: Mapping[str, Any]) -> Exchange:
    """The exchange of an ASGI scope."""
    sent = header(scope, b"x-request-id")
    name = sent.decode() if sent is not None and SANE_ID.fullmatch(sent) else uuid.uuid4().hex
    address = scope.get("client")
    return Exchange(id=name, method=scope["method"], client=address[0] if address else "unknown")


def exchange_of(scope: Mapping[str, Any]) -> Exchange:
    """The exchange that the middleware put into a scope (request.scope)."""
    found: Exchange = scope[SCOPE_KEY]
    return found


def header(scope: Mapping[str, Any], name: bytes) -> bytes | None:
    """The first header of a name in lower case."""
    return next((value for key, value in scope["headers"] if key == name), None)
