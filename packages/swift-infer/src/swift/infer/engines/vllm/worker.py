"""What vLLM's workers learn when vLLM runs in our process: new weights, and to end with us."""

from __future__ import annotations

import os
import select
import signal
import threading

from swift.infer.engines.vllm.plugin.swift_vllm_weights import WeightLoading


class WorkerExtension(WeightLoading):
    """Added to vLLM's worker class."""

    def end_with_server(self, server: int) -> None:
        """Kill the engine core once the process that started it is gone.

        vLLM's workers end with their core, but its core waits for ever for a server that was killed, and
        keeps the memory of the device. A core with one worker may hold it in its own process.

        Args:
            server: process id of who started the core.
        """
        core = os.getpid() if os.getppid() == server else os.getppid()
        threading.Thread(target=_kill_after, args=(server, core), name="swift-life", daemon=True).start()


def _kill_after(server: int, core: int) -> None:
    try:
        watched = os.pidfd_open(server)
    except ProcessLookupError:  # gone already
        pass
    else:
        select.select([watched], [], [])  # readable when it ends (pidfd_open(2))
    os.kill(core, signal.SIGKILL)
