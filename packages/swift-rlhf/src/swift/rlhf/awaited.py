"""Plugins may be coroutines."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any


def awaited(value: Any) -> Any:
    """The value, or what it comes to when it is a coroutine; for threads without an event loop."""
    return asyncio.run(_result(value)) if inspect.isawaitable(value) else value


async def _result(value: Awaitable[Any]) -> Any:
    return await value
