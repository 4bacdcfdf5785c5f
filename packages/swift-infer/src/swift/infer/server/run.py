"""The process: a socket, uvicorn, and a line that says when it listens."""

from __future__ import annotations

import errno
import signal
import socket
import sys

import uvicorn
from fastapi import FastAPI

from swift.core.errors import EngineError

GRACE_SECONDS = 30  # running answers may finish for so long after SIGTERM or Ctrl-C


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, taken before anything slow is loaded.

    Raises:
        EngineError: the port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # clients that come while the model loads wait instead of failing
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise EngineError(
                f"port {port} of {host} is in use", "choose another with infer.port (0: any free one)"
            ) from error
        raise EngineError(
            f"cannot listen on {host}:{port}: {error.strerror}", "correct infer.host"
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn on one socket; prints "ready: URL" once requests are answered."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=GRACE_SECONDS, lifespan="on"
        )
        super().__init__(config)
        self.listener = listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        if not self.should_exit:
            print(f"ready: {address(self.listener)}", flush=True)

    def serve_forever(self) -> None:
        """Answer until SIGTERM or Ctrl-C (KeyboardInterrupt, once running answers are done)."""
        self.run(sockets=[self.listener])


def end_on_sigterm() -> None:
    """Let SIGTERM end the process as a success: uvicorn raises it again when the last answer is out."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
