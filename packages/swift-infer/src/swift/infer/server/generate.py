"""Several requests to an engine as one stream, which ends with the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import cast

from swift.core.protocols import Engine
from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.server.errors import ApiError

Deltas = AsyncGenerator[Sequence[tuple[int, TokenDelta]], None]
"""(index of the request, delta) of the requests of one answer: what has come since the last look."""


def streaming(
    engine: Engine, request: GenerationRequest
) -> contextlib.aclosing[AsyncGenerator[TokenDelta, None]]:
    """A context of the deltas of one request, at whose end the request has ended.

    Every engine writes stream() as an async generator; its protocol promises no more than iteration.
    """
    return contextlib.aclosing(cast("AsyncGenerator[TokenDelta, None]", engine.stream(request)))


async def merged(
    engine: Engine, requests: Sequence[GenerationRequest], saw: Callable[[TokenDelta], None]
) -> Deltas:
    """The deltas of all requests as they come; leaving early aborts all of them.

    Args:
        saw: is told every delta.

    Raises:
        ApiError: the engine failed at one of them.
    """
    if len(requests) == 1:  # nearly always: then a task and a queue for it are a waste
        async with streaming(engine, requests[0]) as deltas:
            async for delta in deltas:
                saw(delta)
                yield ((0, _sound(delta)),)
        return
    queue: asyncio.Queue[tuple[int, TokenDelta | BaseException]] = asyncio.Queue()
    tasks = [asyncio.create_task(_forward(engine, one, index, queue)) for index, one in enumerate(requests)]
    open_requests = len(tasks)
    try:
        while open_requests:
            arrived = [await queue.get()]
            while not queue.empty():
                arrived.append(queue.get_nowait())
            batch = [(index, _sound(delta)) for index, delta in arrived]
            for _, delta in batch:
                saw(delta)
            open_requests -= sum(delta.finish_reason is not None for _, delta in batch)
            yield batch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _sound(delta: TokenDelta | BaseException) -> TokenDelta:
    if isinstance(delta, BaseException):
        raise delta
    if delta.finish_reason == "error":
        told = delta.error or "generation failed"
        if delta.refused:
            raise ApiError(told, code="request_refused")
        raise ApiError(told, status=500, code="generation_failed")
    return delta


async def _forward(
    engine: Engine,
    request: GenerationRequest,
    index: int,
    queue: asyncio.Queue[tuple[int, TokenDelta | BaseException]],
) -> None:
    try:
        async with streaming(engine, request) as deltas:
            async for delta in deltas:
                queue.put_nowait((index, delta))
    except Exception as error:  # noqa: BLE001 - raised again by merged(), in the task of the request
        queue.put_nowait((index, error))
