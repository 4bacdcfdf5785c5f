"""Starting a plugin's process: forked from a clean and warm one, with a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swift.plugin.sandbox.forked import Forked
from swift.plugin.sandbox.forkserver import fork_server
from swift.plugin.sandbox.frames import encode
from swift.plugin.sandbox.limits import SandboxLimits


@dataclass(frozen=True)
class Spawned:
    """A started process and the run's ends of what connects to it."""

    process: Forked
    connection: socket.socket
    output: int
    scratch: Path


def spawn(path: Path, limits: SandboxLimits, native: Mapping[str, Path]) -> Spawned:
    """Start the process; it locks itself down and then waits for calls.

    Raises:
        SandboxError: it cannot be started.
    """
    scratch = Path(tempfile.mkdtemp(prefix="swift-sandbox-"))
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    try:
        process = fork_server().fork(theirs.fileno(), writing, limits.load_timeout)
        facts = {
            "scratch": str(scratch),
            "limits": limits.model_dump(),
            "path": str(path),
            "native": {name: str(file) for name, file in native.items()},
        }
        ours.sendall(encode(0, facts))
    except BaseException:
        ours.close()
        os.close(reading)
        shutil.rmtree(scratch)
        raise
    finally:
        theirs.close()
        os.close(writing)
    return Spawned(process, ours, reading, scratch)
