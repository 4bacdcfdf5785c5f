"""Raw system calls. Python's standard library offers neither Landlock nor seccomp nor capset."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

from swift.core.errors import SandboxError

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4


def machine() -> str:
    """Architecture of the processor as uname spells it."""
    return platform.machine()


def is_linux() -> bool:
    """Whether the system has these system calls at all."""
    return sys.platform == "linux"


def syscall(number: int, *arguments: int | ctypes._CArgObject | None) -> int:
    """Make a system call; integers are passed as 64 bits.

    Raises:
        OSError: the kernel refuses.
    """
    converted = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *converted))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, *values: int) -> None:
    """Set a property of this process.

    Raises:
        SandboxError: the kernel refuses.
    """
    padded = [*values, 0, 0, 0, 0][:4]
    if _libc.prctl(option, *(ctypes.c_ulong(value) for value in padded)) != 0:
        code = ctypes.get_errno()
        raise SandboxError(
            f"prctl({option}) failed: {os.strerror(code)}", "set trust: trusted, or another kernel"
        )
