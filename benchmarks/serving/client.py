"""A client that costs little, in a process of its own: chat streams over raw sockets.

    python client.py '{"host": ..., "port": ..., "model": ..., "concurrency": 64, "requests": 64, ...}'

Prints one JSON line with seconds, tokens and percentiles. A request is lost unless its stream ends as
it should ([DONE], or the last chunk where a server sends none) with the token count that was asked for.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any

TEXT = re.compile(rb'"content": ?"(?!")')
LAST_CHUNK = b"0\r\n\r\n"  # of a chunked body; it often comes alone, and text before it ends in two newlines
COUNT = re.compile(rb'"completion_tokens": ?(\d+)')


@dataclass
class Stream:
    """What came of one request; times of time.perf_counter()."""

    began: float
    ended: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    tokens: int = 0
    done: bool = False
    status: int = 0


class Receiver(asyncio.Protocol):
    """Reads one answer; looks at bytes, parses nothing."""

    def __init__(self, request: bytes, stream: Stream, finished: asyncio.Future[None]) -> None:
        self.request, self.stream, self.finished = request, stream, finished

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        assert isinstance(transport, asyncio.Transport)
        self.stream.began = time.perf_counter()
        transport.write(self.request)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Note when text came, and how it ends."""
        stream = self.stream
        if not stream.status:
            stream.status = int(data[9:12])
        pieces = len(TEXT.findall(data))
        if pieces:
            stream.arrivals.extend([time.perf_counter()] * pieces)
        count = COUNT.search(data)
        if count:
            stream.tokens = int(count[1])
        if b"[DONE]" in data or data.endswith(LAST_CHUNK):
            stream.done = True
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The answer is complete, or lost."""
        self.stream.ended = time.perf_counter()
        if not self.finished.done():
            self.finished.set_result(None)


def request_bytes(job: dict[str, Any], prompt: str) -> bytes:
    """The HTTP request of a chat stream."""
    body = json.dumps(
        {
            "model": job["model"],
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": job["tokens"],
            "temperature": 0,
            "stream": True,
            **job.get("extra", {}),
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {job['host']}:{job['port']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def prompts(job: dict[str, Any]) -> list[str]:
    """A text of its own for every request, so that no cache of prompts helps anybody."""
    source = random.Random(job["seed"])
    words = job["words"]
    return [" ".join(source.choices(words, k=job["prompt_words"])) for _ in range(job["requests"])]


async def run(job: dict[str, Any]) -> tuple[float, list[Stream]]:
    """Seconds, and every stream."""
    loop = asyncio.get_running_loop()
    waiting = [request_bytes(job, prompt) for prompt in prompts(job)]
    streams: list[Stream] = []

    async def work() -> None:
        while waiting:
            request = waiting.pop()
            stream = Stream(began=time.perf_counter())
            streams.append(stream)
            finished = loop.create_future()
            try:
                await loop.create_connection(
                    lambda: Receiver(request, stream, finished),  # noqa: B023 - called before the next turn
                    job["host"],
                    job["port"],
                )
            except OSError:
                continue
            await finished

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(job["concurrency"])))
    return time.perf_counter() - started, streams


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so many are not above; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def figures(seconds: float, streams: list[Stream], expected: int) -> dict[str, Any]:
    """What is reported, in seconds."""
    kept = [one for one in streams if one.done and one.tokens == expected]
    first = [one.arrivals[0] - one.began for one in kept if one.arrivals]
    gaps = [
        later - earlier
        for one in kept
        for earlier, later in zip(one.arrivals, one.arrivals[1:], strict=False)
    ]
    whole = [one.ended - one.began for one in kept]
    tokens = sum(one.tokens for one in kept)
    return {
        "seconds": seconds,
        "tokens": tokens,
        "tokens_per_second": tokens / seconds,
        "first_p50": percentile(first, 0.5),
        "first_p99": percentile(first, 0.99),
        "gap_p50": percentile(gaps, 0.5),
        "gap_p99": percentile(gaps, 0.99),
        "request_p50": percentile(whole, 0.5),
        "request_p99": percentile(whole, 0.99),
        "requests": len(streams),
        "lost": len(streams) - len(kept),
        "statuses": sorted({one.status for one in streams}),
    }


def main() -> None:
    """Run the job that the first argument or standard input describes."""
    job = json.loads(sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read())
    seconds, streams = asyncio.run(run(job))
    print(json.dumps(figures(seconds, streams, job["tokens"])))


if __name__ == "__main__":
    main()
