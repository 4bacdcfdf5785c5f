"""`swift-infer serve` as a process: signals while it answers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

PROGRAM = "from swift.infer.cli import main; main()"
CHAT = "/v1/chat/completions"


@pytest.mark.timeout(300)
def test_sigterm_drains_and_ends_as_a_success(
    tiny_model_dir: Path, tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    log = tmp_path / "requests.jsonl"
    arguments = ["serve", "--model", str(tiny_model_dir), "--port", "0", "--served-model-name", "tiny"]
    arguments += [f"infer.request_log={log}", "infer.api_keys={a: sk-secret}", "infer.drain_timeout=60"]
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 200,
        "ignore_eos": True,
        "stream": True,
    }
    headers = {"Authorization": "Bearer sk-secret"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True
    ) as on:
        try:
            assert on.stdout is not None
            url = on.stdout.readline().removeprefix("ready: ").strip()

            def ask(_: int) -> str:
                return httpx.post(url + CHAT, json=body, headers=headers, timeout=60).text

            with ThreadPoolExecutor(8) as pool:
                answers = [pool.submit(ask, one) for one in range(8)]
                eventually(lambda: "swift_running_requests 8.0" in httpx.get(url + "/metrics").text)
                on.send_signal(signal.SIGTERM)
                eventually(lambda: httpx.get(url + "/ready").status_code == 503)
                texts = [answer.result() for answer in answers]
            began = time.monotonic()
            assert on.wait(timeout=30) == 0 and time.monotonic() - began < 20
        finally:
            on.kill()
    assert all('"finish_reason":"length"' in text and text.endswith("[DONE]\n\n") for text in texts)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(row["key"], row["completion_tokens"], row["status"]) for row in rows] == [("a", 200, 200)] * 8
