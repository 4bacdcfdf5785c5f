"""What tests of engines and of the server share: small models, and a server on a real loopback socket."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from swift.core.config.schema import InferConfig, ModelConfig
from swift.core.models.load import load_model, load_tokenizer
from swift.infer.engines.transformers.engine import TransformersEngine
from swift.infer.server.app import create_app
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.run import Server, address, listen
from swift.infer.server.served import ServedModel


@dataclass
class Running:
    """A server that answers."""

    url: str
    served: ServedModel
    gateway: Gateway
    server: Server
    thread: threading.Thread

    @property
    def engine(self) -> Any:
        """What generates."""
        return self.served.engine

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2])

    def body(self, tokens: int = 4, **extra: Any) -> dict[str, Any]:
        """A chat request."""
        return {
            "model": "tiny",
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": tokens,
            **extra,
        }


OnSocket = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="session")
def on_socket() -> OnSocket:
    """A context manager: on_socket(served, gateway=None) is a server, stopped and waited for at the end."""

    @contextlib.contextmanager
    def run(served: ServedModel, gateway: Gateway | None = None) -> Iterator[Running]:
        gateway = gateway or Gateway()
        listener = listen("127.0.0.1", 0)
        server = Server(create_app(served, gateway), listener, gateway)
        thread = threading.Thread(target=server.serve_forever)
        url = address(listener)
        thread.start()
        try:
            yield Running(url, served, gateway, server, thread)
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()

    return run


@pytest.fixture(scope="session")
def serve_tiny() -> Callable[[int], ServedModel]:
    """serve_tiny(max_length): the embedded engine over tiny/qwen3, of its own."""

    def make(max_length: int) -> ServedModel:
        config = ModelConfig.model_validate({"model_id": "tiny/qwen3"})
        model = load_model(config, dtype=torch.float32, device="cpu")
        tokenizer = load_tokenizer(config)
        engine = TransformersEngine(model, tokenizer, max_length=max_length)
        defaults = InferConfig.model_validate({"max_new_tokens": 16})
        return ServedModel("tiny", engine, tokenizer, max_length=max_length, defaults=defaults)

    return make


@pytest.fixture(scope="session")
def random_qwen3() -> Callable[..., Any]:
    """random_qwen3(seed=0, scale=1, **config): a model of two layers that has learned nothing.

    A larger scale of the embeddings makes its choices clear, so that rounding cannot turn them.
    """

    def make(seed: int = 0, scale: float = 1.0, **config: Any) -> Any:
        from transformers import Qwen3Config, Qwen3ForCausalLM

        sizes: dict[str, Any] = {
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
        }
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(Qwen3Config(**{**sizes, **config})).eval()
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(scale)
        return model

    return make
