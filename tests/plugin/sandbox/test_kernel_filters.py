"""The filter of system calls on both architectures, Landlock's rights by version, and a kernel without it."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from swift.core.errors import SandboxError
from swift.plugin.sandbox import require_sandbox
from swift.plugin.sandbox.landlock import handled
from swift.plugin.sandbox.seccomp import (
    ALLOW,
    ANY_BIT,
    AT_LEAST,
    DENY,
    EQUAL,
    ERRNO,
    KILL,
    LOAD,
    RETURN,
    Program,
    build_filter,
)  # fmt: skip
from swift.plugin.sandbox.syscalls import ALLOWED, ARCHITECTURES, CONDITIONAL

PID, CHANNEL = 4242, 5


def action(program: Program, audit: int, number: int, *arguments: int) -> int:
    """What the kernel does with a call: a machine for the few instructions that the filter uses."""
    padded = [each % 2**64 for each in (*arguments, *[0] * 6)][:6]
    data = struct.pack("<IIQ6Q", number, audit, 0, *padded)
    position = accumulator = 0
    while True:
        code, if_true, if_false, value = program[position]
        position += 1
        if code == RETURN:
            return value
        if code == LOAD:
            (accumulator,) = struct.unpack_from("<I", data, value)
            continue
        holds = {
            EQUAL: accumulator == value,
            AT_LEAST: accumulator >= value,
            ANY_BIT: bool(accumulator & value),
        }[code]
        position += if_true if holds else if_false


@pytest.fixture(params=ARCHITECTURES)
def call(request: pytest.FixtureRequest):
    audit, column, _ = ARCHITECTURES[request.param]
    program = build_filter(request.param, PID, CHANNEL)
    table = {**ALLOWED, **CONDITIONAL}

    def make(name: str | int, *arguments: int) -> int:
        number = name if isinstance(name, int) else table[name][column]
        return ALLOW if number is None else action(program, audit, number, *arguments)

    return make


def test_the_table_is_allowed_and_everything_else_refused(call) -> None:
    assert all(call(name) == ALLOW for name in ALLOWED)
    for column in range(2):
        known = {numbers[column] for numbers in (*ALLOWED.values(), *CONDITIONAL.values())}
        program = build_filter(list(ARCHITECTURES)[column], PID, CHANNEL)
        audit = list(ARCHITECTURES.values())[column].audit
        allowed = {each for each in range(600) if action(program, audit, each) == ALLOW}
        assert allowed <= known


def test_signals_go_to_itself_only(call) -> None:
    assert call("kill", PID, 9) == ALLOW
    for other in (PID + 1, 1, 0, -1, -PID):
        assert call("kill", other, 9) == DENY
        assert call("tgkill", other, PID, 9) == DENY


def test_limits_can_be_read_only(call) -> None:
    assert call("prlimit64", 0, 7, 0, 0x1000) == ALLOW
    assert call("prlimit64", PID, 7, 0, 0x1000) == ALLOW
    assert call("prlimit64", PID + 1, 7, 0, 0x1000) == DENY
    for pointer in (0x1000, 1 << 32):
        assert call("prlimit64", 0, 7, pointer, 0) == DENY


def test_opening(call) -> None:
    for flags in (
        os.O_RDONLY,
        os.O_RDWR | os.O_CREAT,
        os.O_WRONLY | os.O_TRUNC,
        os.O_RDONLY | os.O_DIRECTORY,
    ):
        assert call("openat", -100, 0x1000, flags) == ALLOW
    for flags in (0o20200000 | os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        assert call("openat", -100, 0x1000, flags) == DENY


def test_descriptors(call) -> None:
    assert call("recvmsg", CHANNEL) == ALLOW
    assert call("recvmsg", CHANNEL + 1) == DENY
    assert call("fcntl", 1, 1) == ALLOW
    for command in (4, 6, 8, 10, 1033):  # flags, locks, owner, signal, seals
        assert call("fcntl", 1, command) == DENY
    assert call("ioctl", 1, 0x5401) == ALLOW
    assert call("ioctl", 1, 0x5412) == DENY  # typing into a terminal


def test_other_calling_conventions_kill() -> None:
    program = build_filter("x86_64", PID, CHANNEL)
    audit = ARCHITECTURES["x86_64"].audit
    assert action(program, 0x40000003, 4) == KILL  # write() of 32-bit code
    assert action(program, audit, 0x40000000) == KILL  # read() of x32
    assert action(program, audit, 435) == ERRNO | errno.ENOSYS


def test_an_unknown_processor_is_refused() -> None:
    with pytest.raises(SandboxError, match="riscv64"):
        build_filter("riscv64", PID, CHANNEL)


def test_rights_by_version_of_landlock() -> None:
    assert handled(1) == (0x1FFF, 0, 0)
    assert handled(3) == (0x7FFF, 0, 0)
    assert handled(4) == (0x7FFF, 3, 0)
    assert handled(5) == (0xFFFF, 3, 0)
    assert handled(7) == (0xFFFF, 3, 3)


def test_this_machine_can_confine() -> None:
    assert require_sandbox() >= 1


def test_a_kernel_without_landlock_refuses(tmp_path: Path) -> None:
    """A filter makes the kernel answer as one that does not know Landlock, in a process of its own."""
    run = textwrap.dedent("""
        import ctypes, errno, sys
        from pathlib import Path
        from swift.plugin.sandbox import kernel, seccomp
        from swift.plugin.sandbox.seccomp import ALLOW, EQUAL, ERRNO, LOAD, RETURN, Instruction

        program = [
            Instruction(LOAD, 0, 0, 0), Instruction(EQUAL, 0, 1, 444),
            Instruction(RETURN, 0, 0, ERRNO | errno.ENOSYS), Instruction(RETURN, 0, 0, ALLOW),
        ]
        seccomp.build_filter = lambda *_: program
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install_filter(0)

        from swift.core.errors import SandboxError
        from swift.plugin.sandbox import load_sandboxed, require_sandbox
        for refuse in (require_sandbox, lambda: load_sandboxed(Path(sys.argv[1]))):
            try:
                refuse()
            except SandboxError as error:
                assert "no Landlock" in error.problem and "trust: trusted" in error.remedy, error
            else:
                raise SystemExit("not refused")
    """)
    file = tmp_path / "plugin.py"
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    subprocess.run([sys.executable, "-c", run, str(file)], check=True, timeout=120)
    assert not (tmp_path / "ran").exists()
