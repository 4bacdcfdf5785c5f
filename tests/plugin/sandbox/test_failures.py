"""Crashes, hangs, bombs and lies of a plugin: each is one error, and the run goes on."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import SandboxError
from swift.plugin.sandbox import SandboxLimits, load_sandboxed
from swift.plugin.sandbox.forkserver import fork_server

PLUGIN = """
import os, socket, sys, threading, time
import torch
from swift.plugin import register_metric

def native_segfault(_):
    import crashing
    crashing.crash()

def hang(_):
    time.sleep(100)

def spin(_):
    while True:
        pass

def fill_the_disk(_):
    for index in range(100_000):
        with open(f"file-{index}", "wb") as file:
            file.write(bytes(1 << 19))
        time.sleep(0.02)

def write_one_large_file(_):
    with open("large", "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))

def memory_bomb(_):
    kept = []
    while True:
        kept.append(torch.ones(1 << 26))

def python_memory_bomb(_):
    kept = []
    while True:
        kept.append(bytearray(1 << 26))

def fork_bomb(_):
    while True:
        os.fork()

def thread_bomb(_):
    while True:
        threading.Thread(target=time.sleep, args=(100,)).start()

def print_a_flood(_):
    for _ in range(2000):
        os.write(1, b"flood " * 1000)
        os.write(2, b"flood " * 1000)

def print_escapes_and_leave(_):
    print("\\x1b[31m\\x1b]0;title\\x07 last words", flush=True)
    os._exit(1)

def write_garbage(_):
    os.write(descriptor_of_channel, b"\\xff" * 100)
    time.sleep(100)

def return_text(_):
    return "no number"

def raise_error(_):
    raise ValueError("wrong \\x1b[31m value")

def work(value):
    return float(value)

import gc
from swift.plugin.sandbox.child_channel import ChildChannel
found = [each for each in gc.get_objects() if isinstance(each, ChildChannel)]
descriptor_of_channel = found[0]._socket.fileno()

@register_metric("do")
def do(predictions, references):
    return globals()[predictions](references)
"""

CRASHING = """
#include <Python.h>
static PyObject *crash(PyObject *, PyObject *) { *(volatile int *)8 = 1; Py_RETURN_NONE; }
static PyMethodDef methods[] = {{"crash", crash, METH_NOARGS, ""}, {nullptr, nullptr, 0, nullptr}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "crashing", nullptr, -1, methods};
PyMODINIT_FUNC PyInit_crashing() { return PyModule_Create(&module); }
"""


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A native module whose crash() writes to memory that is not its own."""
    folder = tmp_path_factory.mktemp("native")
    source, built = folder / "crashing.cpp", folder / "crashing.so"
    source.write_text(CRASHING)
    include = sysconfig.get_path("include")
    subprocess.run(["g++", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(built)], check=True)
    return built


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory, crashing: Path) -> Iterator[Any]:
    file = tmp_path_factory.mktemp("plugin") / "failing.py"
    file.write_text(PLUGIN)
    limits = SandboxLimits(timeout=30, cpu_seconds=2, memory=2**30, file_bytes=2**25)
    (offer,) = load_sandboxed(file, limits, native={"crashing": crashing})
    part = offer.target()
    yield part
    part.process.close()


@pytest.fixture
def do(part: Any) -> Any:
    """Calls a function of the plugin, whose process was started again if a test before ended it."""
    if part.process.pid is None:
        part.process.restart()
    return part


ENDINGS = {
    "native_segfault": r"crashed with SIGSEGV; it printed last:(.|\n)*line \d+ in native_segfault",
    "hang": "did not answer within 1 s and was stopped",
    "spin": r"used the 2 s of processor time that it may \(SIGXCPU\)",
    "print_escapes_and_leave": "ended the process with status 1; it printed last:(.|\n)*last words",
    "fill_the_disk": r"wrote .* bytes of files, more than 33,554,432",
    "write_garbage": "bytes, more than 16,777,216, which breaks the protocol",
}


@pytest.mark.parametrize("name", ENDINGS)
def test_what_ends_the_process_is_one_error_until_restart(
    name: str, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert do("work", 1) == 1
    pid, scratch = do.process.pid, do.process.scratch
    if name == "hang":
        monkeypatch.setattr(do.process, "limits", do.process.limits.model_copy(update={"timeout": 1}))
    with pytest.raises(SandboxError) as caught:
        do(name, 0)
    assert re.search(ENDINGS[name], caught.value.problem)
    assert "failing.py" in caught.value.problem
    assert caught.value.remedy
    assert "\x1b" not in str(caught.value)
    assert not Path(f"/proc/{pid}").exists()  # reaped
    assert not scratch.exists()
    with pytest.raises(SandboxError) as again:
        do("work", 1)
    assert again.value is caught.value


BOMBS = {
    "memory_bomb": "raise plugins.memory_gb (1 now)",
    "python_memory_bomb": "raise plugins.memory_gb (1 now)",
    "fork_bomb": "neither network nor processes nor new threads",
    "thread_bomb": "neither network nor processes nor new threads",
    "write_one_large_file": "a file may have 33,554,432 bytes",
}


def test_bombs_fail_and_the_process_goes_on(do: Any) -> None:
    pid = do.process.pid
    for name, remedy in BOMBS.items():
        with pytest.raises(SandboxError) as caught:
            do(name, 0)
        assert remedy in caught.value.remedy, name
        assert do("work", 3) == 3
    assert do.process.pid == pid


def test_a_flood_of_output_neither_blocks_nor_grows(do: Any) -> None:
    with pytest.raises(SandboxError, match="NoneType"):  # it returns nothing
        do("print_a_flood", 0)
    assert len(do.process._running._channel._tail) <= 4096


def test_errors_of_the_plugin_name_its_line_and_nothing_reaches_the_terminal(do: Any) -> None:
    with pytest.raises(SandboxError) as caught:
        do("raise_error", 0)
    line = PLUGIN.splitlines().index('    raise ValueError("wrong \\x1b[31m value")') + 1
    assert f"failing.py:{line}'" in caught.value.problem
    assert "ValueError: wrong \ufffd[31m value" in caught.value.problem
    with pytest.raises(SandboxError, match="could not convert string to float"):
        do("return_text", 0)


def test_it_dies_with_the_run(tmp_path: Path) -> None:
    """Even when the run is killed and the plugin hangs."""
    file = tmp_path / "plugin.py"
    file.write_text("open('hangs', 'w').close()\nwhile True: pass")
    run = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from swift.plugin.sandbox.frames import encode
        from swift.plugin.sandbox.limits import SandboxLimits
        from swift.plugin.sandbox.spawn import spawn
        spawned = spawn(Path({str(file)!r}), SandboxLimits(), {{}})
        spawned.connection.sendall(encode(1, {{"op": "load"}}))
        while not (spawned.scratch / "hangs").exists():
            time.sleep(0.01)
        print(spawned.process.pid, spawned.scratch, flush=True)
        time.sleep(100)
    """)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # a killed run cannot remove its folders
    command = [sys.executable, "-c", run]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        pid, _ = process.stdout.readline().split()
        assert _runs(int(pid))
        process.kill()
    deadline = time.monotonic() + 10
    while _runs(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(int(pid))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_fork_and_a_copy_use_processes_of_their_own(do: Any) -> None:
    copy = pickle.loads(pickle.dumps(do))
    assert copy("work", 5) == 5
    assert copy.process.pid != do.process.pid
    copy.process.close()
    assert do("work", 6) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module", "cannot be imported: ModuleNotFoundError"),
        (
            "from swift.plugin import *\n\n@register_optimizer('mine')\ndef make(params, **config): ...",
            "plugin.py:3: optimizer 'mine' cannot be sandboxed",
        ),
    ],
)
def test_what_does_not_load_leaves_nothing_behind(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "plugin.py"
    file.write_text(text)
    fork_server().prepare()
    before = _plugin_processes()
    with pytest.raises(SandboxError) as caught:
        load_sandboxed(file)
    assert message in str(caught.value)
    assert _plugin_processes() == before


def _plugin_processes() -> set[str]:
    """What the zygote has forked, not reaped ones included."""
    return {path.name for path in Path("/proc").glob("[0-9]*") if _parent(path) == fork_server().pid}


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
