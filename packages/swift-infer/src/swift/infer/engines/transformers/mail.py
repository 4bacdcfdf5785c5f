"""Deltas on their way to whoever waits for them: once a step for each event loop, not once a token."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from swift.core.types import TokenDelta


@dataclass(slots=True, frozen=True, eq=False)
class StreamBox:
    """Where a stream in an event loop reads its deltas."""

    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[TokenDelta] = field(default_factory=asyncio.Queue)


Box = deque[TokenDelta] | StreamBox
Post = list[tuple[StreamBox, TokenDelta]]


def send(letters: Iterable[tuple[Box, TokenDelta]]) -> None:
    """Put every delta into its box; waking another thread's loop costs a system call."""
    posts: dict[asyncio.AbstractEventLoop, Post] = {}
    for box, delta in letters:
        if isinstance(box, StreamBox):
            posts.setdefault(box.loop, []).append((box, delta))
        else:
            box.append(delta)
    for loop, post in posts.items():
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens any more
            loop.call_soon_threadsafe(_open, post)


def _open(post: Post) -> None:
    for box, delta in post:
        box.queue.put_nowait(delta)
