"""Landlock: which files a process may open, and that it may open no connection (Linux 5.13 and later).

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from swift.core.errors import SandboxError
from swift.plugin.sandbox.kernel import PR_SET_NO_NEW_PRIVS, is_linux, prctl, syscall

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SYM = 1 << 12
REFER = 1 << 13
TRUNCATE = 1 << 14

_FIRST_RIGHTS = (1 << 13) - 1  # ABI 1: execute ... make symbolic links
_LATER_RIGHTS = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}  # rename between folders, truncate, ioctl of devices
_NETWORK_RIGHTS = {4: 0b11}  # bind and connect of TCP
_SCOPES = {6: 0b11}  # abstract unix sockets and signals

READ = READ_FILE | READ_DIR
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15  # what a rule about a file may name


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def landlock_abi() -> int:
    """The version that the running kernel speaks; 0: none."""
    if not is_linux():
        return 0
    try:
        return syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0  # not built in; switched off; forbidden by a container's own filter
        raise


def require_landlock() -> int:
    """The kernel's Landlock version.

    Raises:
        SandboxError: it has none.
    """
    abi = landlock_abi()
    if abi < 1:
        release = os.uname().release if is_linux() else "not Linux"
        raise SandboxError(
            f"this system ({release}) has no Landlock, and without it files cannot be kept from a plugin",
            "use Linux 5.13 or later with landlock in its lsm= boot parameter and allowed by the container, "
            "or set trust: trusted for plugins that you trust",
        )
    return abi


def handled(abi: int) -> tuple[int, int, int]:
    """All rights that a version knows, which a ruleset then forbids: (files, network, scopes)."""
    files = _FIRST_RIGHTS | _since(_LATER_RIGHTS, abi)
    return files, _since(_NETWORK_RIGHTS, abi), _since(_SCOPES, abi)


def _since(rights: dict[int, int], abi: int) -> int:
    return sum(bits for version, bits in rights.items() if version <= abi)


def restrict(rules: Iterable[tuple[Path, int]]) -> int:
    """Forbid this thread, and all that it starts from now on, every file but those of the rules.

    Links are followed when the rules are made. Paths that do not exist are left out: nothing is there to be
    allowed. Metadata (stat) stays visible: Landlock does not cover it.

    Args:
        rules: (file, or folder with all below it; rights).

    Returns:
        The version of Landlock in force.

    Raises:
        SandboxError: no Landlock here.
    """
    abi = require_landlock()
    files, network, scopes = handled(abi)
    attributes = _Ruleset(files, network, scopes)
    ruleset = syscall(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & files)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        allowed = rights if path.is_dir() else rights & FILE_RIGHTS
        beneath = _PathBeneath(allowed, descriptor)
        syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(descriptor)
