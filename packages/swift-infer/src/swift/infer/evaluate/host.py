"""The engine behind our own server, on a free port of this machine, while a benchmark asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn

from swift.core.errors import EngineError
from swift.infer.server.app import create_app
from swift.infer.server.run import address, listen
from swift.infer.server.served import ServedModel

START_SECONDS = 60


@contextmanager
def serving(served: ServedModel) -> Iterator[str]:
    """The URL of the API, up to /v1; the engine is closed at the end."""
    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(create_app(served), log_level="error", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            _wait(server, thread)
            yield f"{address(listener)}/v1"
        finally:
            server.should_exit = True
            thread.join()


def endpoint(url: str, model: str, key: str = "EMPTY", **sampling: Any) -> Mapping[str, Any]:
    """Where questions go, as the worker is told."""
    return {"url": url, "model": model, "key": key, "sampling": sampling}


def _wait(server: uvicorn.Server, thread: threading.Thread) -> None:
    limit = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > limit:
            raise EngineError("the server did not start")
        time.sleep(0.01)
