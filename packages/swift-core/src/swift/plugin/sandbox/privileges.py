"""Giving up for good what a process may do beyond its own memory."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import time
from pathlib import Path

from swift.core.errors import SandboxError
from swift.plugin.sandbox.kernel import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    machine,
    prctl,
    syscall,
)
from swift.plugin.sandbox.limits import SandboxLimits
from swift.plugin.sandbox.syscalls import CAPSET

_CAPABILITY_VERSION_3 = 0x20080522
_OPEN_FILES = 64


def drop_privileges() -> None:
    """No new privileges, no capabilities (containers often run as root), no ptrace and no core dump.

    Raises:
        SandboxError: the kernel refuses.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    syscall(CAPSET[machine()], ctypes.byref(header), ctypes.byref(none))
    prctl(PR_SET_DUMPABLE, 0)


def apply_rlimits(limits: SandboxLimits) -> None:
    """Bound memory, processor time, files, descriptors and core dumps; hard limits, so for good."""
    for which, value in _rlimits(limits).items():
        _, hard = resource.getrlimit(which)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (bound, bound))
    if limits.cpu_seconds is not None:
        allowed = math.ceil(time.process_time()) + limits.cpu_seconds
        # A second between SIGXCPU, which says what happened, and SIGKILL, which cannot be caught.
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, allowed + 1))


def _rlimits(limits: SandboxLimits) -> dict[int, int]:
    return {
        resource.RLIMIT_AS: address_space() + limits.memory,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }


def address_space() -> int:
    """Bytes of address space that this process has mapped."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def require_single_thread() -> None:
    """Landlock restricts the calling thread only: one that already runs would stay free.

    Raises:
        SandboxError: there are more.
    """
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 (a number, no paths)
    if threads != 1:
        raise SandboxError(
            f"importing torch started {threads - 1} threads, which Landlock would not restrict",
            "report this with your versions of torch and numpy, or set trust: trusted",
        )
