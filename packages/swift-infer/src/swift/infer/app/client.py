"""What the page asks of a server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from swift.core.errors import EngineError
from swift.core.types import Message

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """The parameters of an answer, by their names in the API; None leaves the server's own."""

    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """The request body of a streamed chat."""
        chosen = {name: value for name, value in asdict(self).items() if value is not None}
        return {**chosen, "messages": list(messages), "stream": True}


class ChatClient:
    """One server.

    Args:
        url: with or without the final /v1.
        api_key: sent as a bearer token.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1") + "/v1"
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        # an answer may take its time between two pieces, a connection may not
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout)

    async def models(self) -> list[str]:
        """Names that requests may ask for: the model, then its adapters.

        Raises:
            EngineError: the server cannot be reached, or refuses.
        """
        try:
            response = await self._http.get(f"{self.url}/models")
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.status_code != httpx.codes.OK:
            raise EngineError(problem_of(response.status_code, response.content))
        return [str(model["id"]) for model in response.json()["data"]]

    async def stream(self, messages: Sequence[Message], settings: Settings) -> AsyncIterator[str]:
        """Text of an answer as it comes; leaving the loop early ends the request.

        Raises:
            EngineError: the server cannot be reached, refuses, or fails on the way.
        """
        try:
            async with self._http.stream(
                "POST", f"{self.url}/chat/completions", json=settings.body(messages)
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise EngineError(problem_of(response.status_code, await response.aread()))
                async for line in response.aiter_lines():
                    text = text_of(line)
                    if text:
                        yield text
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.HTTPError) -> EngineError:
        return EngineError(
            f"{self.url} does not answer: {type(error).__name__}: {error}",
            "start the server, or name it: --url",
        )


def text_of(line: str) -> str:
    """New text in a line of a stream.

    Raises:
        EngineError: the line reports a failure.
    """
    if not line.startswith("data: ") or line == "data: [DONE]":
        return ""
    event = json.loads(line.removeprefix("data: "))
    if "error" in event:
        raise EngineError(str(event["error"].get("message", event["error"])))
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


def problem_of(status: int, content: bytes) -> str:
    """The message in the body of a refusal, or the beginning of what is there instead."""
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered with status {status}: {content[:200]!r}"
