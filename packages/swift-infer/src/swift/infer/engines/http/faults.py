"""What can go wrong with a server, as value, rule and remedy."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx

from swift.core.errors import EngineError

LONGEST_MESSAGE = 400  # characters of what a server says
PASSING = frozenset({408, 429, 500, 502, 503, 504, 529})  # statuses after which another try may succeed
REFUSED = frozenset({400, 413, 422})  # statuses that blame the request
_CONTEXT = re.compile(r"context|maximum.*(length|tokens)|too long|max_model_len", re.IGNORECASE)
_REMEDIES = {
    401: "set infer.api_key_env or infer.api_key_file to a key that the server knows",
    403: "set infer.api_key_env or infer.api_key_file to a key that may do this",
    404: "correct infer.base_url or infer.model",
    429: "wait, or lower infer.connections",
}


class ServerFault(Exception):
    """An exchange with a server that failed.

    Attributes:
        problem, remedy: as in SwiftError.
        passing: another try may succeed.
        refused: the server says that the request is at fault.
        wait: seconds after which the server wants to be asked again.
    """

    def __init__(
        self,
        problem: str,
        remedy: str = "",
        *,
        passing: bool = False,
        refused: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem, self.remedy, self.passing, self.wait = problem, remedy, passing, wait
        self.refused = refused

    def text(self) -> str:
        """Problem and remedy in one line."""
        return f"{self.problem}: {self.remedy}" if self.remedy else self.problem

    def error(self) -> EngineError:
        """The same as an error of ours."""
        return EngineError(self.problem, self.remedy)


def refused(url: str, status: int, body: bytes, headers: httpx.Headers) -> ServerFault:
    """A response whose status is not 200."""
    said = message_of(body) or httpx.codes.get_reason_phrase(status)
    if 300 <= status < 400:
        return ServerFault(
            f"{url} answers {status} and sends us to {headers.get('location', 'another place')!r}",
            "set infer.base_url to the place itself",
        )
    return ServerFault(
        f"{url} answers {status}: {said}",
        _remedy(status, said),
        passing=status in PASSING,
        refused=status in REFUSED,
        wait=_seconds(headers.get("retry-after")),
    )


def broken(url: str, error: httpx.HTTPError) -> ServerFault:
    """An exchange that ended without a response, or in the middle of one."""
    what = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ServerFault(
            f"{url} cannot be reached: {what}", "correct infer.base_url, or start the server", passing=True
        )
    if isinstance(error, httpx.TimeoutException):
        return ServerFault(f"{url} was silent for too long ({type(error).__name__})", "raise infer.timeout")
    return ServerFault(f"the connection to {url} broke: {what}", "send the request again", passing=True)


def failed(url: str, event: dict[str, Any]) -> ServerFault:
    """An event that says, in the middle of a stream, why the answer ends."""
    error, said = event.get("error"), message_of(event)
    status = error.get("code") if isinstance(error, dict) else None
    if isinstance(status, int) and status in REFUSED:
        return ServerFault(f"{url} answers {status}: {said}", _remedy(status, said), refused=True)
    return ServerFault(f"{url} failed: {said}")


def garbled(url: str, data: str) -> ServerFault:
    """An event that is no JSON object."""
    return ServerFault(
        f"{url} sent what is no JSON object: {shortened(data)!r}",
        "is infer.base_url an OpenAI-compatible API?",
    )


def message_of(body: bytes | dict[str, Any]) -> str:
    """What an error body says: {"error": {"message"}}, {"error": TEXT}, {"message"}, {"detail"} or text."""
    value: Any = body
    if isinstance(body, bytes):
        text = body.decode("utf-8", "replace")
        try:
            value = json.loads(text)
        except ValueError:
            return shortened(text)
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(key):
            value = value[key]
    return shortened(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def shortened(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_MESSAGE else line[:LONGEST_MESSAGE] + "..."


def _remedy(status: int, said: str) -> str:
    """What to do about a refusal; nothing where the server, one like ours, has said it."""
    remedy = _REMEDIES.get(status, "")
    if status in REFUSED and _CONTEXT.search(said):
        remedy = "shorten the prompt or lower max_tokens"
    return "" if remedy in said else remedy


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; a date is not read."""
    try:
        return max(0.0, float(retry_after)) if retry_after is not None else None
    except ValueError:
        return None
