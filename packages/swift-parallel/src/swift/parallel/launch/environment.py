"""What a rank is told by its environment, in the names that torch.distributed reads."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping

ADDRESS = "127.0.0.1"


def rank_environment(base: Mapping[str, str], rank: int, world_size: int, port: int) -> dict[str, str]:
    """The environment of one rank of a run on this machine.

    Args:
        base: environment that all ranks share; what it sets for threads and network interface stays.
        port: TCP port on which rank 0 gathers the others.
    """
    environment = {
        **base,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": ADDRESS,
        "MASTER_PORT": str(port),
    }
    environment.setdefault("OMP_NUM_THREADS", str(threads_per_rank(world_size)))
    if sys.platform == "linux":
        # gloo would look up the host name, which need not resolve, to choose an interface.
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return environment


def threads_per_rank(world_size: int) -> int:
    """An equal share of the cores this process may use: more threads than cores slow every rank down."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // world_size)


def free_port() -> int:
    """A TCP port that nothing listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind((ADDRESS, 0))
        port: int = listener.getsockname()[1]
        return port
