"""An engine whose model answers behind HTTP."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from swift.core.errors import EngineError, did_you_mean
from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.engines.http.client import HttpClient
from swift.infer.engines.http.dialect import Dialect, Unsupported
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.http.loop import LoopThread

if TYPE_CHECKING:
    import torch


class HttpEngine:
    """Streams requests to a server and reads its events; tokens are drawn there.

    Args:
        client: the server.
        dialect: its API.
        facts: what it can do.
    """

    def __init__(self, client: HttpClient, dialect: Dialect, facts: EngineFacts) -> None:
        self._client, self._dialect, self._facts = client, dialect, facts
        self._loop = LoopThread()
        self._guard = threading.Lock()
        self._running: set[str] = set()
        self._closed = False

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        """Deltas of all requests, interleaved as they come; leaving early aborts what is unfinished.

        Raises:
            EngineError: the engine is closed, or an id is in use. A request that fails ends with a delta of
                finish_reason "error" instead.
        """
        self._check_open()
        yield from self._loop.merged(self.stream, requests)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[TokenDelta, None]:
        """Deltas of one request; leaving the loop early closes the connection, which aborts it.

        Raises:
            EngineError: the engine is closed, or the id is in use.
        """
        self._enter(request.request_id)
        try:
            async with aclosing(self._deltas(request)) as deltas:
                async for delta in deltas:
                    yield delta
        except Unsupported as error:
            yield failure(request, str(error), refused=True)
        except ServerFault as fault:
            yield failure(request, await self._explained(fault), refused=fault.refused)
        finally:
            with self._guard:
                self._running.discard(request.request_id)

    def facts(self) -> EngineFacts:
        """What the server can do."""
        return self._facts

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """A server's weights are not ours.

        Raises:
            EngineError: always, where a server takes none.
        """
        raise EngineError(
            f"{type(self).__name__} takes no new weights", "use infer.engine=transformers or vllm"
        )

    def load_adapter(self, name: str, folder: Path) -> None:
        """Offer an adapter.

        Raises:
            EngineError: the server takes none.
        """
        raise EngineError(
            f"{type(self).__name__} cannot load the adapter {name!r}", "merge the adapter: swift merge"
        )

    def unload_adapter(self, name: str) -> None:
        """Stop offering an adapter.

        Raises:
            EngineError: none of that name is loaded.
        """
        raise EngineError(f"no adapter {name!r} is loaded", did_you_mean(name, self._facts.adapters))

    def health(self) -> EngineHealth:
        """Whether requests are taken, and how many are on their way."""
        return EngineHealth(not self._closed, len(self._running), 0, "closed" if self._closed else "")

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        self._closed = True
        self._client.close()
        self._loop.close()

    async def _deltas(self, request: GenerationRequest) -> AsyncGenerator[TokenDelta, None]:
        path, body = self._dialect.written(fitting(request, self._facts))
        reader = self._dialect.reader(request)
        ended: TokenDelta | None = None
        try:
            async with aclosing(self._client.events(path, body)) as events:
                async for event in events:
                    delta = reader.read(event)
                    if delta is not None:
                        yield delta
                    if reader.done:
                        break
            ended = reader.end()
        except ServerFault:
            ended = reader.end()  # a connection that breaks after the last token lost nothing
            if ended is None:
                raise
        if ended is None:
            raise ServerFault(
                f"{self._client.base_url} ended the answer without a finish reason",
                "send the request again",
                passing=True,
            )
        yield ended

    async def _explained(self, fault: ServerFault) -> str:
        """What the request's last delta says about a fault."""
        return "the engine was closed" if self._closed else fault.text()

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("the engine is closed", "build another one")

    def _enter(self, request_id: str) -> None:
        self._check_open()
        with self._guard:
            if request_id in self._running:
                raise EngineError(f"request id {request_id!r} is in use", "give every request its own id")
            self._running.add(request_id)


def fitting(request: GenerationRequest, facts: EngineFacts) -> GenerationRequest:
    """A request whose answer may be no longer than the context has room for: it ends there, with "length".

    Raises:
        Unsupported: it has room for none.
    """
    if facts.max_length is None or facts.reads != "ids":
        return request
    count = len(request.prompt_ids)
    room = facts.max_length - count
    if room < 1:
        raise Unsupported(
            f"the prompt has {count} tokens, the model's context {facts.max_length}; shorten the prompt"
        )
    if request.sampling.max_tokens <= room:
        return request
    return replace(request, sampling=replace(request.sampling, max_tokens=room))


def failure(request: GenerationRequest, problem: str, *, refused: bool = False) -> TokenDelta:
    """The only or last delta of a request that failed; refused: by its own fault."""
    return TokenDelta(request.request_id, finish_reason="error", error=problem, refused=refused)
