"""Starting a plugin's process: a clean environment, no inherited descriptors, a folder of its own."""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import swift.plugin
from swift.plugin.sandbox.limits import SandboxLimits
from swift.plugin.sandbox.readable import library_path

# -c and not -m: the package may be on the run's sys.path only by PYTHONPATH, which -I ignores.
_START = (
    "import sys; sys.path += sys.argv[2:]; from swift.plugin.sandbox.child import main; main(sys.argv[1])"
)


@dataclass(frozen=True)
class Spawned:
    """A started process and the run's ends of what connects to it."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    output: int
    scratch: Path


def spawn(path: Path, limits: SandboxLimits, native: Mapping[str, Path]) -> Spawned:
    """Start the process; it locks itself down and then waits for calls."""
    scratch = Path(tempfile.mkdtemp(prefix="swift-sandbox-"))
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    facts = {
        "parent": os.getpid(),
        "channel": theirs.fileno(),
        "scratch": str(scratch),
        "limits": limits.model_dump(),
        "path": str(path),
        "native": {name: str(file) for name, file in native.items()},
    }
    command = [sys.executable, "-I", "-B", "-X", "utf8", "-c", _START, json.dumps(facts), *_roots()]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env=clean_environment(scratch),
            cwd=scratch,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    try:
        return Spawned(_in_lasting_thread(start), ours, reading, scratch)
    finally:
        theirs.close()
        os.close(writing)


def clean_environment(folder: Path) -> dict[str, str]:
    """Nothing of the run's own environment but the path of libraries: credentials often lie in variables."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    libraries = {"LD_LIBRARY_PATH": ":".join(library_path())} if library_path() else {}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "CUDA_VISIBLE_DEVICES": "",
        **threads,
        **libraries,
    }


def _roots() -> Sequence[str]:
    """Where swift.plugin and swift.core lie, if not among installed packages."""
    return [str(Path(folder).parents[1]) for folder in swift.plugin.__path__]


def _in_lasting_thread(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """When the thread that started it ends, the kernel kills the child (PR_SET_PDEATHSIG): a lasting one."""
    if threading.current_thread() is threading.main_thread():
        return start()
    return _nursery(os.getpid()).submit(start).result()


@functools.cache
def _nursery(pid: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="swift-sandbox")
