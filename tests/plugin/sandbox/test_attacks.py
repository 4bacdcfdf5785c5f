"""A hostile plugin tries everything, while it is imported and while it is called. Outside, each works."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from swift.plugin.sandbox import SandboxLimits, load_sandboxed
from swift.plugin.sandbox.forkserver import fork_server

ATTACKS = Path(__file__).with_name("attacks.py")
NAMES = re.findall(r"^@attack\ndef (\w+)", ATTACKS.read_text(), re.MULTILINE)
# Outside they need privileges or a kernel that a tester may not have.
PRIVILEGED = {
    "unshare_namespaces", "mount", "load_bpf", "watch_page_faults", "read_kernel_log", "make_ring",
    "make_key", "set_attribute", "change_owner", "file_without_name", "ptrace", "read_memory",
    "open_memory_of", "read_secret_with_openat2", "raw_clone", "read_memory_of_parent",
    "steal_descriptor_of", "list_mapped_files_of",
}  # fmt: skip
AT_A_PROCESS = {
    "kill_other", "kill_group", "queue_signal", "signal_by_descriptor", "own_signals_of_descriptor",
    "ptrace", "read_memory", "read_environment_of", "read_command_of", "open_memory_of",
    "list_descriptors_of", "steal_descriptor_of", "list_mapped_files_of", "raise_limits_of",
    "change_priority_of", "change_cores_of",
}  # fmt: skip
SECRET = "the secret"

Parts = dict[str, Any]

PLUGIN_END = """
if __name__ != "__main__":
    from swift.plugin import register_metric

    def attempt(name, argument):
        try:
            gained = ATTACKS[name](argument)
        except OSError as error:
            return error.errno
        return f"{name} gained {gained!r}"

    AT_IMPORT = {name: attempt(name, argument) for name, argument in GIVEN.items()}
    GAINED = [each for each in AT_IMPORT.values() if isinstance(each, str)]
    if GAINED:
        raise RuntimeError("; ".join(GAINED))

    @register_metric("errno_at_import")
    def at_import(predictions, references):
        return AT_IMPORT

    @register_metric("errno")
    def errno_of(predictions, references):
        result = attempt(predictions, references)
        if isinstance(result, str):
            raise RuntimeError(result)
        return result
"""


class World:
    """What is there to be attacked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret.txt"
        self.secret.write_text(SECRET)
        self.secret.chmod(0o644)
        self.descriptor = os.open(self.secret, os.O_RDONLY)
        os.set_inheritable(self.descriptor, True)
        self.link = folder / "link"
        self.link.symlink_to(self.secret)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(folder / "socket"))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0swift-test-{folder.name}")
        for server in (self.tcp, self.unix, self.abstract):
            server.listen()
            server.settimeout(0)
        self.victim = subprocess.Popen(["sleep", "1000"], start_new_session=True)

    def argument(self, name: str) -> str:
        """What the attack of that name is aimed at."""
        if name in ("read_through_symlink", "write_through_symlink"):
            return str(self.link)
        if name in ("list_folder", "change_folder", "file_without_name"):
            return str(self.folder)
        port = str(self.tcp.getsockname()[1])
        targets = {
            "make_file_outside": str(self.folder / "made.txt"),
            "connect_tcp": port,
            "send_udp": port,
            "connect_unix": str(self.folder / "socket"),
            "connect_abstract": f"swift-test-{self.folder.name}",
            "read_inherited": str(self.descriptor),
            "read_variable": "SWIFT_TEST_TOKEN",
        }
        return str(self.victim.pid) if name in AT_A_PROCESS else targets.get(name, str(self.secret))

    def untouched(self) -> bool:
        """Whether the files and the victim are as they were."""
        status = self.secret.stat()
        return (
            self.secret.read_text() == SECRET
            and status.st_mode & 0o777 == 0o644
            and status.st_nlink == 1
            and status.st_mtime > 0
            and not (self.folder / "made.txt").exists()
            and self.victim.poll() is None
            and self.unreached()
        )

    def unreached(self) -> bool:
        """Whether nobody connected."""
        for server in (self.tcp, self.unix, self.abstract):
            try:
                server.accept()
            except BlockingIOError:
                continue
            return False
        return True

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        os.close(self.descriptor)
        for server in (self.tcp, self.unix, self.abstract):
            server.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def hostile(world: World) -> Iterator[Parts]:
    """The plugin in its sandbox, after it tried everything while it was imported."""
    file = world.folder / "hostile.py"
    given = {name: world.argument(name) for name in NAMES}
    file.write_text(f"{ATTACKS.read_text()}\nGIVEN = {json.dumps(given)}\n{PLUGIN_END}")
    os.environ["SWIFT_TEST_TOKEN"] = SECRET
    offers = load_sandboxed(file, SandboxLimits(timeout=20))
    parts = {offer.name: offer.target() for offer in offers}
    yield parts
    parts["errno"].process.close()
    del os.environ["SWIFT_TEST_TOKEN"]


def test_attacks_while_the_plugin_is_imported_gain_nothing(hostile: Parts, world: World) -> None:
    assert set(hostile["errno_at_import"]("", "")) == set(NAMES)
    assert world.untouched()


@pytest.mark.parametrize("name", NAMES)
def test_attack_gains_nothing(name: str, hostile: Parts, world: World) -> None:
    assert hostile["errno"](name, world.argument(name)) > 0
    assert world.untouched()


@pytest.fixture(scope="module")
def sibling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Another plugin's part, whose process has shared memory."""
    file = tmp_path_factory.mktemp("sibling") / "sibling.py"
    file.write_text(SIBLING)
    (offer,) = load_sandboxed(file)
    part = offer.target()
    assert part(torch.ones(10), 0) == 10
    yield part
    part.process.close()


SIBLING = """
from swift.plugin import register_metric

@register_metric("sum")
def total(predictions, references):
    return predictions.sum()
"""


@pytest.mark.parametrize("name", sorted(AT_A_PROCESS))
def test_neither_the_zygote_nor_another_plugin_is_reached(name: str, hostile: Parts, sibling: Any) -> None:
    zygote = fork_server().pid
    assert _parent_of(sibling.process.pid) == _parent_of(hostile["errno"].process.pid) == zygote
    for pid in (zygote, sibling.process.pid):
        assert hostile["errno"](name, str(pid)) > 0
    assert sibling(torch.ones(20), 0) == 20
    assert fork_server().pid == zygote


@pytest.mark.skipif(os.geteuid() != 0, reason="others may not look into a process that cannot be dumped")
def test_a_plugin_holds_nothing_of_the_zygote_or_of_another_plugin(hostile: Parts, sibling: Any) -> None:
    """Seen from outside: descriptors, shared memory, environment, command line."""
    zygote = fork_server().pid
    assert zygote is not None
    one, other = hostile["errno"].process.pid, sibling.process.pid
    sockets = [_open_files(pid, "socket:") for pid in (zygote, one, other)]
    assert [len(found) for found in sockets] == [1, 1, 1]
    assert len(set.union(*sockets)) == 3
    assert not _open_files(one, "/memfd:") | _open_files(zygote, "/memfd:")
    assert "swift-sandbox" in Path(f"/proc/{other}/maps").read_text()
    for pid in (zygote, one):
        assert "swift-sandbox" not in Path(f"/proc/{pid}/maps").read_text()
    for pid in (zygote, one, other):
        assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        assert b"hostile.py" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _open_files(pid: int, kind: str) -> set[str]:
    files = (str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir())
    return {file for file in files if file.startswith(kind)}


@pytest.mark.parametrize("name", ["read_through_symlink", "write_through_symlink"])
def test_a_link_in_the_scratch_folder_leads_nowhere(name: str, hostile: Parts, world: World) -> None:
    link = hostile["errno"].process.scratch / name
    link.symlink_to(world.secret)
    assert hostile["errno"](name, str(link)) == errno.EACCES
    assert hostile["errno"](name, name) == errno.EACCES
    assert world.untouched()


@pytest.mark.parametrize("name", NAMES)
def test_attack_is_real(name: str, tmp_path: Path) -> None:
    """Without a sandbox the same code gets what it wants, against a world of its own."""
    world = World(tmp_path)
    try:
        told = subprocess.run(
            [sys.executable, "-I", shutil.copy(ATTACKS, tmp_path), name, world.argument(name)],
            env={"SWIFT_TEST_TOKEN": SECRET},
            cwd=tmp_path,
            pass_fds=[world.descriptor],
            capture_output=True,
            timeout=60,
        )
        result = json.loads(told.stdout)
    finally:
        world.close()
    if "gained" not in result and name in PRIVILEGED:
        pytest.skip(f"not possible here even without a sandbox: {result['held_off']}")
    assert "gained" in result
