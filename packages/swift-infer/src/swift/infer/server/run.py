"""The process: a socket, uvicorn, a line that says when it listens, and an orderly end."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from swift.core.errors import EngineError
from swift.infer.server.errors import ApiError
from swift.infer.server.gateway.gateway import DRAINING, Gateway
from swift.infer.server.gateway.protocol import ConnectionLimits, limited

FAREWELL_SECONDS = 5  # for the last bytes of answers that were ended


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
    """uvicorn on one socket; prints "ready: URL" once requests are answered.

    SIGTERM and Ctrl-C drain it: /ready and new requests get 503 at once, running answers go on for
    infer.drain_timeout, then end with an error. A second signal ends them at once.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket, gateway: Gateway | None = None) -> None:
        self.gateway = gateway or Gateway()
        limits = ConnectionLimits(
            headers_seconds=self.gateway.config.receive_timeout,
            connections=self.gateway.config.max_connections,
        )
        config = uvicorn.Config(
            app,
            http=limited(limits),
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            backlog=2048,
            timeout_graceful_shutdown=FAREWELL_SECONDS,
        )
        super().__init__(config)
        self.listener = listener
        self._drain_until: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        if not self.should_exit:
            print(f"ready: {address(self.listener)}", flush=True)

    def serve_forever(self) -> None:
        """Answer until SIGTERM or Ctrl-C, and until running answers are done."""
        self.run(sockets=[self.listener])

    def stop(self) -> None:
        """Stop at the next look, without waiting for answers; from any thread."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; at the second signal stop."""
        seconds = 0.0 if self.gateway.draining else self.gateway.config.drain_timeout
        self.gateway.draining = True
        self._drain_until = time.monotonic() + seconds

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop: asked to, or drained."""
        stop = await super().on_tick(counter)
        if self._drain_until is None or stop:
            return stop
        if self.gateway.busy and time.monotonic() < self._drain_until:
            return False
        self.gateway.end_all(ApiError(DRAINING, 503, code="shutting_down"))
        return True


def end_on_sigterm() -> None:
    """Let SIGTERM end the process as a success while nothing is served yet."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))


def allow_connections(count: int) -> None:
    """Raise the limit of open files towards one for each connection, as far as the system lets us."""
    try:
        import resource
    except ImportError:  # not on Windows, which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 512  # files of the engine
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
