"""The filter of system calls, as a classic BPF program (Linux 3.17 and later; no library needed).

https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import termios
from collections.abc import Callable
from typing import NamedTuple

from swift.core.errors import SandboxError
from swift.plugin.sandbox.kernel import machine, syscall
from swift.plugin.sandbox.syscalls import ALLOWED, ARCHITECTURES, CLONE3, CONDITIONAL, SECCOMP

# Instructions of classic BPF: load a word of the call's data, compare, test bits, return.
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
DENY = ERRNO | errno.EPERM

_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1
_O_TMPFILE = 0o20000000  # the bit that no other flag shares
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


class Instruction(NamedTuple):
    """One of struct sock_filter; jumps count the instructions to skip."""

    code: int
    if_true: int
    if_false: int
    value: int


Program = list[Instruction]


def build_filter(architecture: str, pid: int, channel: int) -> Program:
    """Allow the calls of the table and refuse all others with EPERM; a foreign calling convention kills.

    Args:
        pid: the only process that may be signalled: itself.
        channel: the only socket: descriptors of new shared memory come through it.

    Raises:
        SandboxError: no table for this architecture.
    """
    if architecture not in ARCHITECTURES:
        raise SandboxError(
            f"the sandbox has no table of system calls for {architecture!r}",
            f"it runs on {' and '.join(ARCHITECTURES)}; or set trust: trusted for plugins that you trust",
        )
    audit, column, foreign = ARCHITECTURES[architecture]
    program = [_load(_ARCHITECTURE), _jump(EQUAL, audit, 1, 0), _return(KILL), _load(_NUMBER)]
    if foreign is not None:
        program += [_jump(AT_LEAST, foreign, 0, 1), _return(KILL)]
    for numbers in ALLOWED.values():
        number = numbers[column]
        if number is not None:
            program += [_jump(EQUAL, number, 0, 1), _return(ALLOW)]
    conditions = _conditions(pid, channel)
    for name, numbers in CONDITIONAL.items():
        number = numbers[column]
        if number is not None:
            block = [*conditions[name], _return(ALLOW)]
            program += [_jump(EQUAL, number, 0, len(block)), *block]
    program += [_jump(EQUAL, CLONE3, 0, 1), _return(ERRNO | errno.ENOSYS)]
    return [*program, _return(DENY)]


def _conditions(pid: int, channel: int) -> dict[str, Program]:
    """Checks of arguments by call; each ends in a refusal, or goes on behind its last instruction."""
    commands = (
        fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL,
    )  # fmt: skip
    own = (0, pid)
    return {
        "open": _opening(1),
        "openat": _opening(2),
        "fcntl": _one_of(1, commands),  # no owner of signals, no sealing, no locks
        "ioctl": _one_of(1, (termios.TCGETS,)),  # what isatty() asks
        "kill": _one_of(0, (pid,)),
        "tgkill": _one_of(0, (pid,)),
        "prlimit64": [*_one_of(0, own), *_one_of(2, (0,)), *_one_of(2, (0,), high=True)],  # reading only
        "recvmsg": _one_of(0, (channel,)),
    }


def _opening(flags: int) -> Program:
    """Neither a file without a name, which no accounting sees, nor truncation of one opened for reading."""
    return [
        _load_argument(flags),
        _jump(ANY_BIT, _O_TMPFILE, 0, 1),
        _return(DENY),
        _jump(ANY_BIT, os.O_TRUNC, 0, 2),
        _jump(ANY_BIT, os.O_WRONLY | os.O_RDWR, 1, 0),
        _return(DENY),
    ]


def _one_of(argument: int, values: tuple[int, ...], high: bool = False) -> Program:
    tests = [_jump(EQUAL, value, len(values) - index, 0) for index, value in enumerate(values)]
    return [_load_argument(argument, high), *tests, _return(DENY)]


def _load_argument(index: int, high: bool = False) -> Instruction:
    return _load(_ARGUMENTS + 8 * index + 4 * high)  # both architectures are little-endian


def _load(offset: int) -> Instruction:
    return Instruction(LOAD, 0, 0, offset)


def _jump(code: int, value: int, if_true: int, if_false: int) -> Instruction:
    return Instruction(code, if_true, if_false, value)


def _return(action: int) -> Instruction:
    return Instruction(RETURN, 0, 0, action)


class _SockFilter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32),
    )  # fmt: skip


class _SockProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_SockFilter)))


def install_filter(channel: int, call: Callable[..., int] = syscall) -> None:
    """Put the filter on every thread of this process, for good. no_new_privs must be set.

    Raises:
        SandboxError: the kernel refuses, or the architecture is unknown.
    """
    instructions = build_filter(machine(), os.getpid(), channel)
    array = (_SockFilter * len(instructions))(*(_SockFilter(*each) for each in instructions))
    program = _SockProgram(len(instructions), array)
    try:
        stuck = call(SECCOMP[machine()], _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.byref(program))
    except OSError as error:
        raise SandboxError(
            f"the kernel takes no filter of system calls: {error.strerror}",
            "use a kernel with CONFIG_SECCOMP_FILTER, or set trust: trusted for plugins that you trust",
        ) from error
    if stuck:
        raise SandboxError(f"thread {stuck} does not take the filter of system calls")
