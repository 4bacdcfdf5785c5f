"""Errors as OpenAI clients expect them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from swift.core.errors import EngineError
from swift.infer.server.text import printable

ERROR_KEY = "swift.error"


class ApiError(Exception):
    """A request that cannot be answered.

    Args:
        message: value, rule and remedy.
        status: HTTP status; below 500 the client can mend it.
        param: the field at fault.
        code: word that programs compare.
        headers: of the answer, such as Retry-After.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """The JSON object that is sent."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        param = None if self.param is None else printable(self.param)
        return {
            "error": {"message": printable(self.message), "type": kind, "param": param, "code": self.code}
        }

    def response(self) -> JSONResponse:
        """The HTTP answer."""
        return ErrorResponse(self)


class ErrorResponse(JSONResponse):
    """An error as an HTTP answer; it leaves its code in the scope, for the log and the metrics."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.body(), error.status, error.headers)
        self.code = error.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        scope[ERROR_KEY] = self.code
        await super().__call__(scope, receive, send)


def install_handlers(app: FastAPI) -> None:
    """Make every failure of an app an OpenAI error body."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(EngineError, _engine_error)
    app.add_exception_handler(500, _internal)


async def _api_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return error.response()


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ApiError(
            f"the body is not valid JSON: {first['ctx']['error']}", code="invalid_json"
        ).response()
    if isinstance(first.get("input"), bytes):  # left unread by FastAPI: its type is not JSON
        kind = request.headers.get("content-type", "")
        return ApiError(
            f"the content type is {kind!r}: send application/json", status=415, code="invalid_content_type"
        ).response()
    return _invalid_value(error.errors(), error.body).response()


def _invalid_value(problems: Sequence[dict[str, Any]], body: Any) -> ApiError:
    """A field that is missing or wrong; for one of several possible types, what each of them wants."""
    first = problems[0]
    param = str(first["loc"][1]) if len(first["loc"]) > 1 else None
    place = _place(first, body) or "the body"
    if first["type"] == "missing":
        return ApiError(f"{place} is missing", param=param, code="missing_value")
    wanted = dict.fromkeys(_wanted(one) for one in problems if one["loc"][1:2] == first["loc"][1:2])
    message = f"{place} is {repr(first.get('input'))[:100]}: {', or '.join(wanted)}"
    return ApiError(message, param=param, code="invalid_value")


def _wanted(problem: dict[str, Any]) -> str:
    if problem["type"] == "none_required":
        return "not supported, leave it out"
    return str(problem["msg"]).removeprefix("Value error, ")


def _place(problem: dict[str, Any], body: Any) -> str:
    """The path of a field in the body; pydantic's has the names of types among its steps."""
    place, value = "", body
    for step in problem["loc"][1:]:
        if isinstance(value, list) and isinstance(step, int) and step < len(value):
            place, value = f"{place}[{step}]", value[step]
        elif isinstance(value, dict) and step in value:
            place, value = f"{place}.{step}" if place else str(step), value[step]
    if problem["type"] == "missing":
        last = str(problem["loc"][-1])
        place = f"{place}.{last}" if place else last
    return place


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.__cause__ is not None:  # FastAPI: bytes that are no text, or nested beyond reason
        cause = f"{type(error.__cause__).__name__}: {error.__cause__}"
        return ApiError(f"the body cannot be read: {cause}", code="invalid_json").response()
    message = f"{error.detail}: {request.method} {request.url.path}"
    return ApiError(message, status=error.status_code).response()


async def _engine_error(request: Request, error: Exception) -> JSONResponse:
    return engine_unavailable(str(error).replace("\n  -> ", ": ")).response()


def engine_unavailable(problem: str, retry_after: int = 5) -> ApiError:
    """The engine has died, and another may take its place within seconds."""
    return ApiError(problem, status=503, code="engine_unavailable", headers={"Retry-After": str(retry_after)})


async def _internal(request: Request, error: Exception) -> JSONResponse:
    return ApiError(f"internal error: {type(error).__name__}", status=500, code="internal_error").response()
