"""Errors as OpenAI clients expect them: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from swift.core.errors import EngineError


class ApiError(Exception):
    """A request that cannot be answered.

    Args:
        message: value, rule and remedy.
        status: HTTP status; below 500 the client can mend it.
        param: the field at fault.
        code: word that programs compare.
    """

    def __init__(
        self, message: str, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code

    def body(self) -> dict[str, Any]:
        """The JSON object that is sent."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The HTTP answer."""
        return JSONResponse(self.body(), self.status)


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
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    shown = repr(first.get("input"))[:100]
    message = f"{where or 'body'} is {shown}: {first['msg']}"
    return ApiError(message, param=where or None, code="invalid_value").response()


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: {request.method} {request.url.path}"
    return ApiError(message, status=error.status_code).response()


async def _engine_error(request: Request, error: Exception) -> JSONResponse:
    return ApiError(str(error), status=503, code="engine_unavailable").response()


async def _internal(request: Request, error: Exception) -> JSONResponse:
    return ApiError(f"internal error: {type(error).__name__}", status=500, code="internal_error").response()
