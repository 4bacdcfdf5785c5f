"""Requests that leave early, and names that are in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from swift.core.errors import EngineError

pytestmark = pytest.mark.timeout(600)


def becomes(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def idle(subject: Any) -> bool:
    health = subject.engine.health()
    return bool(health.ready and health.running == health.waiting == 0)


def test_leaving_a_stream_frees_its_place(subject: Any) -> None:
    async def leave() -> None:
        async with aclosing(subject.engine.stream(subject.request("left", max_tokens=3000))) as deltas:
            async for _ in deltas:
                assert subject.engine.health().running == 1
                return

    for _ in range(2):  # the same id again, too
        asyncio.run(leave())
        assert becomes(lambda: idle(subject))
    assert len(subject.ask().tokens) == 12


def test_leaving_generate_frees_its_places(subject: Any) -> None:
    deltas = subject.engine.generate([subject.request(str(n), max_tokens=3000) for n in range(3)])
    next(deltas)
    deltas.close()
    assert becomes(lambda: idle(subject))


def test_a_cancelled_reader_frees_its_place(subject: Any) -> None:
    async def read() -> None:
        async for _ in subject.engine.stream(subject.request("cancelled", max_tokens=3000)):
            pass

    async def cancel() -> None:
        task = asyncio.create_task(read())
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    assert becomes(lambda: idle(subject))


def test_an_id_is_used_once_at_a_time(subject: Any) -> None:
    deltas = subject.engine.generate([subject.request("twice", max_tokens=3000)])
    next(deltas)
    with pytest.raises(EngineError, match="twice"):
        next(subject.engine.generate([subject.request("twice")]))
    deltas.close()
    assert becomes(lambda: idle(subject))


def test_streams_and_generate_side_by_side(subject: Any) -> None:
    async def both() -> tuple[list[int], list[int]]:
        async def streamed() -> list[int]:
            request = subject.request("streamed", max_tokens=20)
            return [token async for delta in subject.engine.stream(request) for token in delta.token_ids]

        task = asyncio.create_task(streamed())
        generated = await asyncio.to_thread(lambda: subject.ask(max_tokens=20).tokens)
        return await task, generated

    one, other = asyncio.run(both())
    assert one == other == subject.ask(max_tokens=20).tokens
