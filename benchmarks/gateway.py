"""Processor time of the HTTP side alone: our server before an engine that costs nothing.

    python benchmarks/gateway.py [--streams 64] [--tokens 256] [--rounds 5]

Streams get a token each --step seconds from a timer, so whatever the process uses is the server's: routes,
gateway, events, sockets. Processor time can be compared on a machine that does other work too. The client is
that of serve.py, in a process of its own. Printed: microseconds of a token, milliseconds of a request (those
with one token) and its latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_tokenizer
from swift.core.types import EngineFacts, EngineHealth, GenerationRequest, TokenDelta
from swift.infer.server.app import create_app
from swift.infer.server.run import Server, address, listen
from swift.infer.server.served import ServedModel

CLIENT = Path(__file__).parent / "serving" / "client.py"


class Timer:
    """Gives every stream a token at each tick."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.streams: set[asyncio.Queue[None]] = set()
        self.task: asyncio.Task[None] | None = None

    async def stream(self, request: GenerationRequest) -> AsyncIterator[TokenDelta]:
        """max_tokens words."""
        self.task = self.task or asyncio.create_task(self._tick())
        queue: asyncio.Queue[None] = asyncio.Queue()
        self.streams.add(queue)
        try:
            for left in reversed(range(request.sampling.max_tokens)):
                await queue.get()
                yield TokenDelta(request.request_id, (65,), " word", finish_reason=None if left else "length")
        finally:
            self.streams.discard(queue)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.step)
            for queue in self.streams:
                queue.put_nowait(None)

    def facts(self) -> EngineFacts:
        """Nothing special."""
        return EngineFacts()

    def health(self) -> EngineHealth:
        """Always well."""
        return EngineHealth(ready=True, running=len(self.streams))

    def close(self) -> None:
        """Stop the timer."""
        if self.task is not None:
            self.task.cancel()


def processor_seconds() -> float:
    """Of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def ask(port: int, concurrency: int, requests: int, tokens: int) -> tuple[float, dict[str, Any]]:
    """(processor seconds, what the client saw) of one round."""
    job = {"host": "127.0.0.1", "port": port, "model": "model", "concurrency": concurrency}
    job |= {"requests": requests, "tokens": tokens, "prompt_words": 5, "seed": 0, "words": ["a", "b", "c"]}
    before = processor_seconds()
    output = subprocess.run(
        [sys.executable, str(CLIENT), json.dumps(job)], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(output.stdout)
    if found["lost"]:
        raise SystemExit(f"{found['lost']} of {found['requests']} streams were lost")
    return processor_seconds() - before, found


def main() -> None:
    """Serve, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", type=float, default=0.02, help="seconds between two tokens of a stream")
    options = parser.parse_args()
    tokenizer = load_tokenizer(ModelConfig.model_validate({"model_id": "tiny/qwen3"}))
    served = ServedModel("model", Timer(options.step), tokenizer)  # type: ignore[arg-type]
    listener = listen("127.0.0.1", 0)
    server = Server(create_app(served), listener)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = int(address(listener).rpartition(":")[2])
    try:
        measure(port, options)
    finally:
        server.should_exit = True
        thread.join()


def measure(port: int, options: argparse.Namespace) -> None:
    """Medians over the rounds; the first one is not counted."""
    tokens, requests = [], []
    for _ in range(options.rounds + 1):
        used, found = ask(port, options.streams, options.streams, options.tokens)
        tokens.append(used / found["tokens"] * 1e6)
        used, found = ask(port, 1, 50, 1)
        requests.append((used / 50 * 1e3, found["request_p50"] * 1e3, found["request_p99"] * 1e3))
    each, half, most = (statistics.median(values) for values in zip(*requests[1:], strict=True))
    step = options.step * 1e3
    print(f"a token: {statistics.median(tokens[1:]):.1f} us of processor time ({options.streams} streams)")
    print(f"a request of one token: {each:.2f} ms of processor time")
    print(f"its latency: p50 {half:.1f} ms, p99 {most:.1f} ms, up to {step:.0f} ms of it the wait for a tick")


if __name__ == "__main__":
    main()
