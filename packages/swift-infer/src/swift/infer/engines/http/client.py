"""Requests to one server: JSON back and forth, and streams of events, with retries before the first one."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from swift.infer.engines.http.events import EventDecoder, EventTooLong
from swift.infer.engines.http.faults import ServerFault, broken, failed, garbled, refused

LONGEST_WAIT = 30.0  # seconds between two tries, whatever the server asks for
DONE = "[DONE]"
WRONG_API = "is it an OpenAI-compatible API that streams? Correct infer.base_url"


@dataclass(frozen=True)
class Limits:
    """How a server is asked.

    Attributes:
        timeout: seconds without a byte after which an exchange is given up.
        retries: further tries after a failure that may pass.
        max_connections: most requests at a time; the others wait here.
        through_proxies: heed HTTP_PROXY and its kin.
    """

    timeout: float = 300.0
    retries: int = 3
    max_connections: int = 1024
    through_proxies: bool = False


@dataclass(frozen=True)
class _Connections:
    """What belongs to one event loop."""

    client: httpx.AsyncClient
    places: asyncio.Semaphore


@dataclass(eq=False)
class HttpClient:
    """One server's URL and how it is asked; may be used from several threads and event loops.

    Args:
        base_url: without a trailing slash.
        secret: the API key; it is sent, and struck out of what the server says.
    """

    base_url: str
    limits: Limits = field(default_factory=Limits)
    secret: str = field(default="", repr=False)
    _by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Connections] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False
    )

    def get(self, path: str, timeout: float | None = None) -> Any:
        """The JSON value at a path; None for an empty body.

        Raises:
            ServerFault: no answer, or another status than 200.
        """
        return self._ask("GET", path, None, timeout)

    def post(self, path: str, body: dict[str, Any], timeout: float | None = None) -> Any:
        """What the server answers to a JSON object; None for an empty body, text as {"text"}.

        Raises:
            ServerFault: no answer, or another status than 200.
        """
        return self._ask("POST", path, body, timeout)

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The events of one answer, up to [DONE] or the end of the stream.

        Failures that may pass are tried again, but only before the first event.

        Raises:
            ServerFault: refused, broken, silent for too long, or not JSON.
        """
        connections = self._connections()
        async with connections.places:
            for attempt in range(self.limits.retries + 1):
                begun = False
                try:
                    async with aclosing(self._once(connections.client, path, body)) as events:
                        async for event in events:
                            begun = True
                            yield event
                    return
                except ServerFault as fault:
                    if begun or not fault.passing or attempt == self.limits.retries:
                        raise
                    await asyncio.sleep(pause(attempt, fault.wait))

    def close(self) -> None:
        """Close the connections of every loop that still runs."""
        for loop, connections in list(self._by_loop.items()):
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(connections.client.aclose(), loop)
        self._by_loop.clear()

    async def _once(
        self, client: httpx.AsyncClient, path: str, body: dict[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        url = self.base_url + path
        try:
            async with client.stream("POST", url, json=body) as response:
                if response.status_code != 200:
                    raise self._refused(response, await response.aread())
                kind = response.headers.get("content-type", "text/event-stream")
                if not kind.startswith("text/event-stream"):
                    raise ServerFault(f"{url} answers with {kind} instead of a stream", WRONG_API)
                decoder = EventDecoder()
                async for chunk in response.aiter_bytes():
                    for data in decoder.feed(chunk):
                        if data == DONE:
                            return
                        yield self._event(url, data)
        except httpx.HTTPError as error:
            raise broken(url, error) from error
        except EventTooLong as error:
            raise ServerFault(f"{url} sent {error}") from error

    def _event(self, url: str, data: str) -> dict[str, Any]:
        try:
            event = json.loads(data)
        except ValueError as error:
            raise garbled(url, self._struck(data)) from error
        if not isinstance(event, dict):
            raise garbled(url, self._struck(data))
        if event.get("error"):
            raise self._secretless(failed(url, event))
        return event

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, timeout: float | None) -> Any:
        url = self.base_url + path
        seconds = httpx.Timeout(timeout or self.limits.timeout)
        try:
            with httpx.Client(
                headers=self._headers(), timeout=seconds, trust_env=self.limits.through_proxies
            ) as client:
                response = client.request(method, url, json=body)
        except httpx.HTTPError as error:
            raise broken(url, error) from error
        if response.status_code != 200:
            raise self._refused(response, response.content)
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            return {"text": response.text}

    def _refused(self, response: httpx.Response, body: bytes) -> ServerFault:
        return self._secretless(refused(str(response.url), response.status_code, body, response.headers))

    def _secretless(self, fault: ServerFault) -> ServerFault:
        fault.problem = self._struck(fault.problem)
        return fault

    def _struck(self, text: str) -> str:
        """A text of the server's without our key."""
        return text.replace(self.secret, "***") if self.secret else text

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"} if self.secret else {}

    def _connections(self) -> _Connections:
        """Those of the running loop: neither sockets nor semaphores can be used from another."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        if found is None:
            most = self.limits.max_connections
            client = httpx.AsyncClient(
                headers=self._headers(),
                timeout=httpx.Timeout(self.limits.timeout, connect=min(10.0, self.limits.timeout), pool=None),
                limits=httpx.Limits(max_connections=most, max_keepalive_connections=min(most, 64)),
                trust_env=self.limits.through_proxies,
            )
            found = self._by_loop[loop] = _Connections(client, asyncio.Semaphore(most))
        return found


def pause(attempt: int, wanted: float | None) -> float:
    """Seconds until the next try: what the server asks for, or 0.5 s doubled each time with jitter."""
    if wanted is not None:
        return min(wanted, LONGEST_WAIT)
    return min(0.5 * 2.0**attempt, LONGEST_WAIT) * random.uniform(0.75, 1.25)
