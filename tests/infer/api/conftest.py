"""A small model behind the API, on a real loopback socket."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from openai import OpenAI

from swift.core.config.schema import InferConfig, ModelConfig, ServerConfig
from swift.core.models.load import load_model, load_tokenizer
from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.constraints import KINDS
from swift.infer.engines.transformers.engine import TransformersEngine
from swift.infer.server.app import create_app
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.run import Server, address, listen
from swift.infer.server.served import ServedModel

Serve = Callable[[ServedModel], AbstractContextManager[OpenAI]]


@pytest.fixture(scope="session")
def tiny() -> Iterator[ServedModel]:
    """The embedded engine over tiny/qwen3."""
    config = ModelConfig.model_validate({"model_id": "tiny/qwen3"})
    model = load_model(config, dtype=torch.float32, device="cpu")
    tokenizer = load_tokenizer(config)
    engine = TransformersEngine(model, tokenizer, max_length=1024)
    defaults = InferConfig.model_validate({"max_new_tokens": 16})
    yield ServedModel("tiny", engine, tokenizer, max_length=1024, defaults=defaults)
    engine.close()


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


@contextlib.contextmanager
def serving(served: ServedModel, **config: Any) -> Iterator[OpenAI]:
    """A client of a server of its own."""
    listener = listen("127.0.0.1", 0)
    gateway = Gateway(ServerConfig.model_validate(config))
    server = Server(create_app(served, gateway), listener, gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = address(listener) + "/v1"
        with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serve() -> Serve:
    """serving(), for tests that need a server of their own."""
    return serving


@pytest.fixture(scope="session")
def client(tiny: ServedModel) -> Iterator[OpenAI]:
    """A client of the small model."""
    with serving(tiny) as client:
        yield client
