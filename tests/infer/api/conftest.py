"""A small model behind the API, on a real loopback socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from openai import OpenAI

from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.constraints import KINDS
from swift.infer.server.served import ServedModel

Serve = Callable[[ServedModel], AbstractContextManager[OpenAI]]


@pytest.fixture(scope="session")
def tiny(serve_tiny: Any) -> Iterator[ServedModel]:
    """The embedded engine over tiny/qwen3."""
    served: ServedModel = serve_tiny(1024)
    yield served
    served.engine.close()


@dataclass
class Scripted:
    """An engine that says a fixed text, a few characters a time, and keeps what it was asked."""

    text: str
    size: int = 3
    facts_: EngineFacts = field(default_factory=lambda: EngineFacts(constraints=KINDS, images=True))
    last: dict[str, Any] = field(default_factory=dict)
    asked: list[GenerationRequest] = field(default_factory=list)
    given: int = 0

    async def stream(self, request: GenerationRequest) -> AsyncIterator[TokenDelta]:
        self.asked.append(request)
        for at in range(0, len(self.text), self.size):
            self.given += 1
            yield TokenDelta(request.request_id, (at,), self.text[at : at + self.size])
        yield TokenDelta(request.request_id, finish_reason="stop", **self.last)

    def facts(self) -> EngineFacts:
        return self.facts_

    def health(self) -> EngineHealth:
        return EngineHealth(ready=True)

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def scripted(tiny: ServedModel) -> Callable[..., tuple[ServedModel, Scripted]]:
    """A served model that says a text, and its engine."""

    def make(text: str, facts: EngineFacts | None = None, **more: Any) -> tuple[ServedModel, Scripted]:
        engine = Scripted(text) if facts is None else Scripted(text, facts_=facts)
        more.setdefault("tokenizer", tiny.tokenizer)
        return ServedModel("tiny", engine, **more), engine  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def serve(on_socket: Any) -> Serve:
    """serve(served): a client of a server of its own."""

    @contextlib.contextmanager
    def serving(served: ServedModel) -> Iterator[OpenAI]:
        with (
            on_socket(served) as running,
            OpenAI(base_url=running.url + "/v1", api_key="none", max_retries=0, timeout=60) as client,
        ):
            yield client

    return serving


@pytest.fixture(scope="session")
def client(tiny: ServedModel, serve: Serve) -> Iterator[OpenAI]:
    """A client of the small model."""
    with serve(tiny) as client:
        yield client
