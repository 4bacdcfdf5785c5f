"""Managed processes: started, waited for, watched, ended; with a real small server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from swift.core.errors import EngineError
from swift.core.types import EngineFacts, GenerationRequest, SamplingParams, TokenDelta
from swift.infer.engines.http.openai_ids import IdsDialect
from swift.infer.engines.process.engine import ManagedEngine
from swift.infer.engines.process.guard import descendants
from swift.infer.engines.process.server import Launch, ServerProcess, free_port

SERVER = """
import http.server, json, os, signal, subprocess, sys, time

port, mode = int(sys.argv[1]), sys.argv[2]
print("server says hello", flush=True)
if mode == "dies":
    sys.exit("no such model: a clear reason")
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
# a worker in a session of its own, as engines have
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): ...
    def do_GET(self):
        self.send_response(503 if mode == "slow" else 200)
        self.end_headers()
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for number in range(asked["max_tokens"]):
            choice = {"text": f"{number} ", "token_ids": [number], "finish_reason": None}
            self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\\n\\n")
            self.wfile.flush()
            time.sleep(0.02)
        last = {"text": "", "finish_reason": "length"}
        self.wfile.write(b"data: " + json.dumps({"choices": [last]}).encode() + b"\\n\\ndata: [DONE]\\n\\n")

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("server") / "server.py"
    path.write_text(SERVER)
    return path


def launch(script: Path, port: int, mode: str = "good", **changes: float) -> Launch:
    return Launch(
        name="test",
        command=[sys.executable, "-S", str(script), str(port), mode],
        health=f"http://127.0.0.1:{port}/health",
        log=script.parent / f"{port}.log",
        start_timeout=changes.get("start_timeout", 20.0),
        grace=changes.get("grace", 5.0),
    )


@pytest.fixture
def engine(script: Path) -> Iterator[ManagedEngine]:
    built = ManagedEngine(lambda port: launch(script, port), "", IdsDialect("m"), EngineFacts())
    yield built
    built.close()


def gone(processes: list[int], seconds: float = 5.0) -> bool:
    """Whether all of them end in time; a zombie that nobody reaps counts as ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        states = [Path(f"/proc/{one}/stat") for one in processes]
        if not [
            one for one in states if one.exists() and one.read_text().rpartition(")")[2].split()[0] != "Z"
        ]:
            return True
        time.sleep(0.05)
    return False


def test_ready_then_ended_with_all_it_started(script: Path) -> None:
    server = ServerProcess(launch(script, free_port()))
    server.wait_ready()
    below = descendants(server.pid)
    assert server.alive() and len(below) == 2 and "server says hello" in server.tail()
    server.stop()
    server.stop()
    assert not server.alive() and gone(below) and "SIGTERM" in server.death()


def test_a_server_that_ignores_sigterm_is_killed(script: Path) -> None:
    server = ServerProcess(launch(script, free_port(), "stubborn", grace=0.3))
    server.wait_ready()
    below = descendants(server.pid)
    server.stop()
    assert gone(below) and "SIGKILL" in server.death()


def test_death_while_it_starts_shows_the_log(script: Path) -> None:
    server = ServerProcess(launch(script, free_port(), "dies"))
    with pytest.raises(EngineError, match="no such model: a clear reason") as caught:
        server.wait_ready()
    assert "status 1" in caught.value.problem and str(server.log) in caught.value.remedy


def test_a_server_that_is_never_ready_is_stopped(script: Path) -> None:
    server = ServerProcess(launch(script, free_port(), "slow", start_timeout=0.8))
    with pytest.raises(EngineError, match=r"not ready after 0\.8 s(.|\n)*hello") as caught:
        server.wait_ready()
    assert "infer.start_timeout" in caught.value.remedy and not server.alive()


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    server = ServerProcess(Launch("test", ["/no/such/python"], "http://127.0.0.1:9/", log=tmp_path / "log"))
    with pytest.raises(EngineError, match="No such file or directory"):
        server.wait_ready()


def test_a_log_that_cannot_be_written(script: Path) -> None:
    with pytest.raises(EngineError, match="server_log"):
        ServerProcess(Launch("test", ["true"], "http://127.0.0.1:9/", log=script / "log"))


def test_no_orphan_when_we_are_killed(script: Path) -> None:
    """kill -9 of the process that started the server ends the server and its worker."""
    port = free_port()
    starter = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from swift.infer.engines.process.server import Launch, ServerProcess
        url = "http://127.0.0.1:{port}/health"
        command = [sys.executable, "-S", {str(script)!r}, "{port}", "good"]
        server = ServerProcess(Launch("test", command, url, log=Path({str(script.parent / "kill.log")!r})))
        server.wait_ready()
        print(server.pid, flush=True)
        sys.stdin.read()
    """)
    ours = subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert ours.stdout is not None and ours.stdin is not None
    guard = int(ours.stdout.readline())
    below = descendants(guard)
    assert len(below) == 2
    ours.kill()
    ours.wait()
    assert gone([guard, *below], 10)
    ours.stdin.close()
    ours.stdout.close()


def test_no_orphan_when_the_guard_is_killed(script: Path) -> None:
    server = ServerProcess(launch(script, free_port()))
    server.wait_ready()
    python, worker = sorted(descendants(server.pid))
    os.kill(server.pid, signal.SIGKILL)
    assert gone([python]) and not server.alive()
    os.kill(worker, signal.SIGKILL)  # out of reach of anyone but its own server, which is gone


def stream(engine: ManagedEngine, count: int, name: str = "a") -> list[TokenDelta]:
    return list(engine.generate([GenerationRequest(name, (1,), SamplingParams(count))]))


def test_streams_and_health(engine: ManagedEngine) -> None:
    deltas = stream(engine, 5)
    assert [token for delta in deltas for token in delta.token_ids] == list(range(5))
    assert deltas[-1].finish_reason == "length"
    health = engine.health()
    assert health.ready and health.running == 0 and not health.detail


def test_kill_in_the_middle_of_a_stream(engine: ManagedEngine) -> None:
    below = descendants(engine.process.pid)
    deltas = []
    for delta in engine.generate([GenerationRequest("a", (1,), SamplingParams(500))]):
        deltas.append(delta)
        if len(deltas) == 3:
            os.kill(min(below), signal.SIGKILL)
    assert deltas[-1].finish_reason == "error"
    assert "the test server ended with signal SIGKILL" in (deltas[-1].error or "")
    assert gone(below)
    health = engine.health()
    assert not health.ready and "SIGKILL" in health.detail
    with pytest.raises(EngineError, match="not ready"):
        stream(engine, 1)
    engine.restart()
    assert engine.health().ready and len(stream(engine, 4)) == 5


def test_close_ends_the_process_and_what_streams(script: Path) -> None:
    engine = ManagedEngine(lambda port: launch(script, port), "", IdsDialect("m"), EngineFacts())
    below = descendants(engine.process.pid)
    deltas = []

    async def read() -> None:
        async for delta in engine.stream(GenerationRequest("a", (1,), SamplingParams(500))):
            deltas.append(delta)
            if len(deltas) == 2:
                await asyncio.to_thread(engine.close)

    asyncio.run(read())
    assert deltas[-1].finish_reason == "error" and deltas[-1].error == "the engine was closed"
    assert gone(below) and engine.health().detail == "closed"
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.restart()


def test_start_that_fails_leaves_nothing(script: Path) -> None:
    with pytest.raises(EngineError, match="clear reason"):
        ManagedEngine(lambda port: launch(script, port, "dies"), "", IdsDialect("m"), EngineFacts())
