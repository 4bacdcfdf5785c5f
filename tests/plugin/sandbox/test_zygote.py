"""The process that plugins are forked from: one start pays for all, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import SandboxError
from swift.plugin.sandbox import SandboxLimits, load_sandboxed
from swift.plugin.sandbox.forkserver import ForkServer, fork_server

PLUGIN = """
import torch
from swift.plugin import register_metric

@register_metric("facts")
def facts(predictions, references):
    leaf = torch.full((2000, 500), 2.0, requires_grad=True)
    (leaf * leaf).sum().backward()
    return {"threads": torch.get_num_threads(), "gradient": leaf.grad.mean()}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def part(file: Path) -> Iterator[Any]:
    (offer,) = load_sandboxed(file)
    part = offer.target()
    yield part
    part.process.close()


def test_plugins_come_from_one_process(part: Any, file: Path) -> None:
    zygote = fork_server().pid
    started = time.perf_counter()
    for threads in (1, 2):
        (offer,) = load_sandboxed(file, SandboxLimits(threads=threads))
        assert offer.target()(0, 0) == {"threads": threads, "gradient": 4.0}
        offer.target.process.close()  # type: ignore[attr-defined]
    assert fork_server().pid == zygote
    assert (
        time.perf_counter() - started < 5
    )  # 0.05 s a plugin on an idle machine, seconds if torch is imported


def test_its_end_ends_the_plugins_and_the_next_start_makes_another(part: Any) -> None:
    zygote, plugin = fork_server().pid, part.process.pid
    assert zygote is not None
    os.kill(zygote, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _runs(plugin) and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(SandboxError, match="was killed from outside"):
        part(0, 0)
    part.process.restart()
    assert part(0, 0)["gradient"] == 4.0
    assert fork_server().pid != zygote


def test_a_fork_of_the_run_has_a_zygote_of_its_own(part: Any) -> None:
    """Such as a worker that prepares data."""
    if (pid := os.fork()) == 0:
        status = 1
        try:
            own = part(0, 0)["gradient"] == 4.0
            status = 0 if own and fork_server().pid != zygote_of_parent() else 2
            part.process.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert part(0, 0)["gradient"] == 4.0


def zygote_of_parent() -> int | None:
    from swift.plugin.sandbox.forkserver import _server

    return _server(os.getppid()).pid


def test_it_ends_with_the_run_and_leaves_no_folder(file: Path, tmp_path: Path) -> None:
    run = textwrap.dedent(f"""
        from pathlib import Path
        from swift.plugin.sandbox import load_sandboxed
        from swift.plugin.sandbox.forkserver import fork_server
        (offer,) = load_sandboxed(Path({str(file)!r}))
        print(fork_server().pid, offer.target.process.pid)
    """)
    folder = tmp_path / "tmp"
    folder.mkdir()
    command = [sys.executable, "-W", "error", "-c", run]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    assert not any(_runs(int(pid)) for pid in done.stdout.split())
    assert not list(folder.iterdir())


def test_one_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swift.plugin.sandbox.forkserver._START", "import no_such_module")
    reading, writing = os.pipe()
    with pytest.raises(SandboxError, match=r"ended at once(.|\n)*No module named 'no_such_module'"):
        ForkServer().fork(reading, writing, 60)
    os.close(reading)
    os.close(writing)


def _runs(pid: int | None) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
