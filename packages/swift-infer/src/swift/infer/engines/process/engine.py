"""An engine whose server is a process of ours."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import httpx

from swift.core.errors import EngineError
from swift.core.types import EngineFacts, EngineHealth
from swift.infer.engines.http.client import HttpClient, Limits
from swift.infer.engines.http.dialect import Dialect
from swift.infer.engines.http.engine import HttpEngine
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.process.server import Launch, ServerProcess, answers, free_port

LOOK = 2.0  # seconds between two looks at a server's health
MISSES = 5  # unanswered looks in a row after which it counts as hung


class ManagedEngine(HttpEngine):
    """Starts a server, speaks to it, and notices when it dies or hangs.

    Args:
        launch: makes the command line for a port.
        api: what follows the server's origin in the dialect's URLs.
        dialect, facts: as HttpEngine has them.
        timeout: seconds without a byte after which a request is given up.
        secret: key that the server asks for.

    Raises:
        EngineError: the server did not become ready; the message holds the end of its log.
    """

    def __init__(
        self,
        launch: Callable[[int], Launch],
        api: str,
        dialect: Dialect,
        facts: EngineFacts,
        *,
        timeout: float = 300.0,
        secret: str = "",
    ) -> None:
        self._launch = launch
        self._port = free_port()
        origin, limits = f"http://127.0.0.1:{self._port}", Limits(timeout, retries=0)
        self.server = HttpClient(origin, limits, secret)
        super().__init__(HttpClient(origin + api, limits, secret), dialect, facts)
        self._hung = ""
        self._ended = threading.Event()
        self.process = self._started()
        threading.Thread(target=self._watch, name="swift-server-watch", daemon=True).start()

    def health(self) -> EngineHealth:
        """Whether requests are taken; the reason when not."""
        told = super().health()
        detail = told.detail or self.process.death() or self._hung
        return EngineHealth(not detail, told.running, told.waiting, detail)

    def restart(self) -> None:
        """End the server, dead or alive, and start it anew on the same port; requests on their way fail.

        Raises:
            EngineError: closed, or it did not become ready.
        """
        self._check_open()
        self.process.stop()
        self.process = self._started()
        self._hung = ""
        if self._closed:  # by another thread, which found no process to end
            self.process.stop()

    def close(self) -> None:
        """End the server; safe to call twice."""
        self._ended.set()
        super().close()
        self.server.close()
        self.process.stop()

    def _started(self) -> ServerProcess:
        process = ServerProcess(self._launch(self._port))
        try:
            process.wait_ready()
        except BaseException:  # an interrupt too: nobody else knows of the process yet
            process.stop()
            raise
        return process

    def _watch(self) -> None:
        """Look at the server's health until the engine is closed."""
        missed = 0
        with httpx.Client(trust_env=False, timeout=LOOK * MISSES) as client:
            while not self._ended.wait(LOOK):
                process = self.process
                launch = process.launch
                well = not process.alive() or answers(client, launch.health)  # of a dead one death() tells
                missed = 0 if well or process is not self.process else missed + 1
                self._hung = (
                    f"the {launch.name} server does not answer at {launch.health}" if missed >= MISSES else ""
                )

    def _enter(self, request_id: str) -> None:
        detail = self.health().detail
        if detail:
            raise EngineError(f"the engine is not ready: {detail}", "restart() it, or build another one")
        super()._enter(request_id)

    async def _explained(self, fault: ServerFault) -> str:
        """A connection that breaks says less than the server's log."""
        for _ in range(10 if fault.passing else 0):
            if self._closed or not self.process.alive():
                break
            await asyncio.sleep(0.05)  # the guard's exit status comes a moment after the sockets close
        death = "" if self._closed else self.process.death()
        return death or await super()._explained(fault)
