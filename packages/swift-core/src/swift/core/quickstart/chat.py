"""Serve a model folder with the real command and ask it something through the OpenAI client."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swift.core.errors import EngineError

READY = "ready: "
START_SECONDS = 600.0  # on a machine with much else to do; a server that ends is noticed at once


@contextmanager
def served(model: Path, log: Path) -> Iterator[str]:
    """A running `swift serve` for the time of the block; yields its base URL.

    Raises:
        EngineError: the server does not come up; the message ends with its last output.
    """
    command = [sys.executable, "-m", "swift.core.cli", "serve", "--model", str(model), "--port", "0"]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield _wait_until_ready(server, log)
    finally:
        server.terminate()
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
        time.sleep(0.1)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
    status = server.poll()
    how = f"was not ready after {START_SECONDS:g} s" if status is None else f"ended with status {status}"
    raise EngineError(f"swift serve {how}:\n{tail}", f"its output is in {log}")


def ask(base_url: str, prompt: str) -> str:
    """One greedy chat answer through the official client."""
    from openai import OpenAI

    client = OpenAI(base_url=f"{base_url.rstrip('/')}/v1", api_key="none", timeout=60, max_retries=0)
    model = client.models.list().data[0].id
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=16
    )
    return (answer.choices[0].message.content or "").strip()
