"""A configured model on a socket."""

from __future__ import annotations

import socket

from swift.core.config.run import RunConfig
from swift.infer.load import load_engine, served_name
from swift.infer.server.app import create_app
from swift.infer.server.run import Server
from swift.infer.server.served import ServedModel


def serve(run: RunConfig, listener: socket.socket) -> None:
    """Load the model and answer until the process is told to stop."""
    engine, tokenizer = load_engine(run)
    served = ServedModel(
        name=served_name(run),
        engine=engine,
        tokenizer=tokenizer,
        max_length=getattr(engine, "max_length", None),
        defaults=run.infer,
    )
    Server(create_app(served), listener).serve_forever()
