"""Ranks are started, watched and ended together. The workers here are small programs without torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swift.core.errors import ConfigError
from swift.parallel.devices import process_count
from swift.parallel.launch.environment import free_port, rank_environment, threads_per_rank
from swift.parallel.launch.supervise import RankError, launch_ranks

LAUNCHER = """
import sys
from swift.parallel.launch.supervise import launch_ranks
sys.exit(launch_ranks([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], 2))
"""


def worker(code: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def started_launcher(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, code, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )


def wait_for(paths: list[Path], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not all(path.exists() and path.read_text() for path in paths):
        assert time.monotonic() < deadline, f"{paths} did not appear"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_every_rank_learns_who_it_is(tmp_path: Path) -> None:
    code = (
        "import json, os, sys; from pathlib import Path\n"
        "names = ['RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT']\n"
        "Path(sys.argv[1], os.environ['RANK']).write_text(json.dumps([os.environ[name] for name in names]))"
    )
    assert launch_ranks(worker(code, tmp_path), 3) == 0
    said = [eval((tmp_path / str(rank)).read_text()) for rank in range(3)]
    assert [row[:5] for row in said] == [[str(r), str(r), "3", "3", "127.0.0.1"] for r in range(3)]
    assert len({row[5] for row in said}) == 1


def test_threads_are_shared_and_an_own_setting_stays() -> None:
    environment = rank_environment({}, rank=0, world_size=2, port=1)
    assert environment["OMP_NUM_THREADS"] == str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert rank_environment({"OMP_NUM_THREADS": "7"}, 0, 2, 1)["OMP_NUM_THREADS"] == "7"
    assert threads_per_rank(10_000) == 1
    assert 1024 <= free_port() <= 65535


@pytest.mark.parametrize(
    ("requested", "device", "gpus", "expected"),
    [(None, "auto", 0, 1), (2, "auto", 0, 2), (None, "auto", 4, 4), (3, "auto", 4, 3), (8, "cpu", 4, 8)],
)
def test_processes_follow_gpus_or_the_request(
    requested: int | None, device: str, gpus: int, expected: int
) -> None:
    assert process_count(requested, device, gpus) == expected


def test_more_processes_than_gpus_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"num_gpus is 4, but this machine shows 2 GPUs[\s\S]*at most 2"):
        process_count(4, "auto", 2)
    with pytest.raises(ConfigError, match="no GPU"):
        process_count(None, "cuda", 0)


def test_a_failing_rank_is_named_with_its_last_words_and_stops_the_others() -> None:
    code = (
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1':\n    sys.exit(print('no such layer', file=sys.stderr) or 3)\n"
        "time.sleep(60)"
    )
    started = time.monotonic()
    with pytest.raises(
        RankError, match=r"rank 1 of 2 ended with exit status 3[\s\S]*no such layer"
    ) as caught:
        launch_ranks(worker(code), 2)
    assert caught.value.exit_code == 3
    assert time.monotonic() - started < 10


def test_a_killed_rank_is_blamed_rather_than_those_that_lost_their_peer(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "if os.environ['RANK'] == '1':\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.exit(1)"
    )
    with pytest.raises(RankError, match="rank 1 of 2 was killed by signal 9, SIGKILL") as caught:
        launch_ranks(worker(code), 2)
    assert caught.value.exit_code == 137


def test_a_stopped_rank_takes_its_own_children_along(tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time; from pathlib import Path\n"
        "pid = Path(sys.argv[1])\n"
        "if os.environ['RANK'] == '0':\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        "    pid.write_text(str(child.pid)); time.sleep(60)\n"
        "while not pid.exists(): time.sleep(0.01)\n"
        "sys.exit(1)"
    )
    with pytest.raises(RankError):
        launch_ranks(worker(code, tmp_path / "pid"), 2)
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5  # killed with its parent; the kernel may need a moment to end it
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(child)


SAVES = """
import os, signal, sys, time
from pathlib import Path
rank = Path(sys.argv[1], os.environ["RANK"])
heard = []
signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
rank.with_suffix(".pid").write_text(str(os.getpid()))
while not heard:
    time.sleep(0.01)
time.sleep(0.5 * (1 + int(os.environ["RANK"])))
rank.with_suffix(".heard").write_text(str(len(heard)))
sys.exit(130)
"""


def test_an_interrupt_reaches_every_rank_once_and_they_end_in_order(tmp_path: Path) -> None:
    launcher = started_launcher(SAVES, tmp_path)
    wait_for([tmp_path / "0.pid", tmp_path / "1.pid"])
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(20) == 130
    assert [(tmp_path / f"{rank}.heard").read_text() for rank in (0, 1)] == ["1", "1"]


def test_ranks_have_sessions_of_their_own(tmp_path: Path) -> None:
    """A terminal's Ctrl-C goes to the launcher's process group; ranks must hear it from the launcher only."""
    code = "import os, sys; from pathlib import Path; Path(sys.argv[1]).write_text(str(os.getpgid(0)))"
    assert launch_ranks(worker(code, tmp_path / "group"), 1) == 0
    assert int((tmp_path / "group").read_text()) != os.getpgid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_no_rank_outlives_a_killed_launcher(tmp_path: Path) -> None:
    launcher = started_launcher(SAVES, tmp_path)
    pids = [tmp_path / "0.pid", tmp_path / "1.pid"]
    wait_for(pids)
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 5
    while any(alive(int(path.read_text())) for path in pids):
        assert time.monotonic() < deadline, "a rank outlived its launcher"
        time.sleep(0.02)


def test_the_launcher_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "import swift.core.train.launch, swift.core.train.record\n"
        "import swift.parallel.ddp.strategy, swift.parallel.components\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
