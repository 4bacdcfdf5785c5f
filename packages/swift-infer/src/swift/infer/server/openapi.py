"""What the API's own document says of each route beside its body: answers, errors, the key."""

from __future__ import annotations

from typing import Any

from fastapi.security import HTTPBearer
from pydantic import BaseModel

from swift.infer.server.answers import ErrorAnswer

BEARER = HTTPBearer(auto_error=False, description="an API key, where the server has some")
"""Only described here; the gateway checks it."""

FAILURES = {
    400: "the request cannot be answered",
    401: "no valid API key",
    403: "switched off on this server",
    404: "no such model or page",
    408: "the request did not come in time",
    413: "the body is too large",
    415: "the content type is not application/json",
    429: "over a limit, or the queue is full",
    500: "the model or a content filter failed",
    503: "the engine is down, or the server shuts down",
    504: "over the deadline",
}


def described(
    answer: type[BaseModel] | None = None, *, streams: bool = False, text: bool = False
) -> dict[str, Any]:
    """Arguments of a route for the OpenAPI document.

    Args:
        answer: its body.
        streams: with stream=true it is a stream of server-sent events instead.
        text: it is plain text.
    """
    content: dict[str, Any] = {}
    if streams:
        content["text/event-stream"] = {}
    if text:
        content["text/plain"] = {"schema": {"type": "string"}}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": why} for status, why in FAILURES.items()
    }
    responses[200] = {"description": "the answer"}
    if answer is not None:
        responses[200]["model"] = answer
    if content:
        responses[200]["content"] = content
    return {"responses": responses}


def answers(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Responses of a route that tells how the server is, in the same form whether it is well or not."""
    return {200: {"model": answer}, 503: {"model": answer}}
