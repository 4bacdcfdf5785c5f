"""A server with any gateway settings, before an engine that is a child process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from swift.core.config.schema import InferConfig, ModelConfig, ServerConfig
from swift.core.models.load import load_tokenizer
from swift.core.types import EngineHealth, GenerationRequest, TokenDelta
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.served import ServedModel

CHILD = """
import json, os, select, sys
delay, running, held = float(sys.argv[1]), {}, b""
while True:
    readable, _, _ = select.select([0], [], [], delay if running else None)
    if readable:
        read = os.read(0, 65536)
        if not read:
            break
        *lines, held = (held + read).split(b"\\n")
        for name, count in map(json.loads, lines):
            running[name] = count
            if not count:
                del running[name]
        continue
    for name in list(running):
        running[name] -= 1
        print(json.dumps([name, running[name]]))
        if not running[name]:
            del running[name]
    sys.stdout.flush()
"""


class ChildEngine:
    """Says the same word again and again; the words come from another process, one each delay seconds.

    A killed child leaves its streams silent: nobody tells them, as with an engine that hangs.
    """

    def __init__(self, delay: float = 0.02, word: str = " word") -> None:
        self.word = word
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(delay)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.streams: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Queue[int]]] = {}
        self.seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    async def stream(self, request: GenerationRequest) -> AsyncIterator[TokenDelta]:
        """Words until max_tokens."""
        queue: asyncio.Queue[int] = asyncio.Queue()
        name = request.request_id
        self.streams[name] = asyncio.get_running_loop(), queue
        self.seen.append(name)
        self._tell(name, request.sampling.max_tokens)
        left = 1
        try:
            while left:
                left = await queue.get()
                yield TokenDelta(name, (65,), self.word, finish_reason=None if left else "length")
        finally:
            del self.streams[name]
            if left:
                self._tell(name, 0)

    def health(self) -> EngineHealth:
        """Whether the child lives."""
        ready = self.process.poll() is None
        return EngineHealth(ready, len(self.streams), 0, "" if ready else "the child is gone")

    def close(self) -> None:
        """End the child."""
        self.process.kill()
        self.process.wait()

    def _tell(self, name: str, count: int) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(json.dumps([name, count]) + "\n")
            self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            name, left = json.loads(line)
            known = self.streams.get(name)
            if known is not None:
                with contextlib.suppress(RuntimeError):
                    known[0].call_soon_threadsafe(known[1].put_nowait, left)


RunServer = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return load_tokenizer(ModelConfig.model_validate({"model_id": "tiny/qwen3"}))


@pytest.fixture
def child_engine() -> type[ChildEngine]:
    return ChildEngine


@pytest.fixture
def run_server(tokenizer: Any, on_socket: Any) -> RunServer:
    """A context manager: run_server(engine=None, delay=0.02, **keys of the gateway)."""

    @contextlib.contextmanager
    def run(engine: Any = None, delay: float = 0.02, gateway: Any = None, **keys: Any) -> Iterator[Any]:
        engine = engine or ChildEngine(delay)
        gateway = gateway or Gateway(ServerConfig.model_validate({"drain_timeout": 1.0, **keys}))
        defaults = InferConfig.model_validate({"max_new_tokens": 16})
        served = ServedModel("tiny", engine, tokenizer, max_length=4096, defaults=defaults)
        with on_socket(served, gateway) as running:
            yield running

    return run


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], None]:
    """Wait until something holds, or fail."""

    def wait(holds: Callable[[], Any], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it did not come to hold"
            time.sleep(0.01)

    return wait
