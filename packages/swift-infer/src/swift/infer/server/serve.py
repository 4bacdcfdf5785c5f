"""A configured model on a socket."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import ASGIApp

from swift.core.config.run import RunConfig
from swift.core.errors import EngineError
from swift.core.protocols import Engine
from swift.infer.server.app import create_app
from swift.infer.server.gateway.gateway import Gateway
from swift.infer.server.gateway.supervise import SupervisedEngine, Supervision
from swift.infer.server.offer import build_filters, load_offered, served_model
from swift.infer.server.run import Server, allow_connections
from swift.infer.server.served import ServedModel

Around = Callable[[FastAPI], ASGIApp]


def serve(run: RunConfig, listener: socket.socket, around: Around | None = None) -> None:
    """Load the model and answer until the process is told to stop.

    Args:
        around: what puts more beside the API, such as a page.

    Raises:
        ConfigError: keys or request log that cannot be used.
        EngineError: the engine died, and none that took its place lived.
    """
    gateway = Gateway(run.server)
    try:
        allow_connections(run.server.max_connections)
        filters = build_filters(run)
        engine, tokenizer = load_offered(run)
        watched = watch(engine, lambda: load_again(run), gateway)
        served = served_model(run, engine, tokenizer, filters, watched)
        del engine  # a dead one must not keep its weights while another is built
        settle_heap()
        serve_watched(served, watched, gateway, listener, around)
    finally:
        gateway.close()


def load_again(run: RunConfig) -> Engine:
    """An engine in a dead one's place, whose remains are let go of first.

    Raises:
        SwiftError: as load_offered does.
    """
    gc.unfreeze()
    gc.collect()
    engine, _ = load_offered(run)
    settle_heap()
    return engine


def settle_heap() -> None:
    """Keep what was loaded out of later collections, each of which would stop all streams to look at it."""
    gc.collect()
    gc.freeze()


def watch(
    engine: Engine, build: Callable[[], Engine], gateway: Gateway, supervision: Supervision | None = None
) -> SupervisedEngine:
    """An engine whose death ends the requests of a gateway and is counted there."""
    return SupervisedEngine(
        engine,
        build,
        supervision or Supervision(max_restarts=gateway.config.max_restarts),
        on_death=gateway.engine_died,
        on_restart=gateway.metrics.restarted,
    )


def serve_watched(
    served: ServedModel,
    engine: SupervisedEngine,
    gateway: Gateway,
    listener: socket.socket,
    around: Around | None = None,
) -> None:
    """Answer until the process is told to stop, or the engine is given up.

    Raises:
        EngineError: it was given up.
    """
    gateway.metrics.gauge("engine_ready", "Whether the engine takes requests", lambda: engine.health().ready)
    app = create_app(served, gateway)
    server = Server(around(app) if around else app, listener, gateway)
    engine.on_loss = server.stop
    server.serve_forever()
    if engine.lost:
        raise EngineError(engine.lost, "the log above says why; its memory may be too small")
