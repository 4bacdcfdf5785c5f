"""The servers that are compared: how each is started, and when it is ready."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from peers.measure import MemoryWatch

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
START_SECONDS, STOP_SECONDS = 900, 60


@dataclass(frozen=True)
class Setup:
    """What every server is told: the model, and how much runs at once.

    Attributes:
        context: longest prompt and answer together, in tokens.
        running: most sequences generated together.
        kv_gb: memory for keys and values, in GiB.
        binaries: folder of the executables.
    """

    model: Path
    context: int
    running: int
    kv_gb: int
    binaries: Path

    def command(self, name: str, port: int) -> list[str]:
        """The command line of a server."""
        ours = [str(self.binaries / "swift-infer"), "serve", "--model", str(self.model)]
        ours += ["--port", str(port), "train.dtype=float32", "device.device=cpu"]
        limits = [f"infer.max_running={self.running}", "infer.max_concurrent=4096"]
        if name == "vllm":
            module = [str(self.binaries / "python"), "-m", "vllm.entrypoints.openai.api_server"]
            options = ["--model", str(self.model), "--served-model-name", "model", "--port", str(port)]
            sizes = ["--max-model-len", str(self.context), "--max-num-seqs", str(self.running)]
            return [*module, *options, *sizes, "--dtype", "float32", "--enforce-eager"]
        if name == "gateway+vllm":
            sizes = [f"infer.max_length={self.context}", f"infer.kv_cache_gb={self.kv_gb}"]
            return [*ours, "--engine", "vllm", *limits, *sizes]
        if name == "embedded":
            return [*ours, "--engine", "transformers", *limits]
        if name == "transformers":
            serve = [str(self.binaries / "transformers"), "serve", str(self.model), "--port", str(port)]
            return [*serve, "--host", "127.0.0.1", "--continuous-batching", "--dtype", "float32"]
        raise SystemExit(f"unknown server {name!r}: choose of {', '.join(NAMES)}")


NAMES = ("vllm", "gateway+vllm", "embedded", "transformers")


def environment(setup: Setup, threads: int) -> dict[str, str]:
    """Variables of a server."""
    return {
        **os.environ,
        **OFFLINE,
        "OMP_NUM_THREADS": str(threads),
        "VLLM_CPU_KVCACHE_SPACE": str(setup.kv_gb),
        "VLLM_LOGGING_LEVEL": "WARNING",
    }


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def started(name: str, setup: Setup, threads: int, log: Path) -> Iterator[tuple[int, MemoryWatch]]:
    """A server on a port, once it answers; it and its children are gone afterwards."""
    port = free_port()
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(
            setup.command(name, port),
            env=environment(setup, threads),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            start_new_session=True,
        )
        watch = MemoryWatch(process.pid)
        try:
            _await_ready(process, port, log)
            yield port, watch
        finally:
            watch.stop()
            _stop(process)


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if _healthy(port):
            return
        time.sleep(0.5)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    raise SystemExit(f"{log.stem} did not become ready:\n{tail}")


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # urllib's own errors are such too
        return False


def processor_seconds(root: psutil.Process) -> float:
    """What a server and its children have used so far."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"server {process.pid} did not stop within {STOP_SECONDS} s", file=sys.stderr)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
