"""Whether this machine can confine a plugin at all."""

from __future__ import annotations

import sys

from swift.core.errors import SandboxError
from swift.plugin.sandbox.kernel import machine
from swift.plugin.sandbox.landlock import require_landlock
from swift.plugin.sandbox.syscalls import ARCHITECTURES


def require_sandbox() -> int:
    """The kernel's Landlock version.

    Whether seccomp works shows when a process locks itself down; it refuses to go on without.

    Raises:
        SandboxError: not Linux, no Landlock, or a processor without a table of system calls.
    """
    remedy = "set trust: trusted for plugins that you trust, or run on Linux 5.13 or later"
    if sys.platform != "linux":
        raise SandboxError(f"trust: sandboxed needs Linux, this is {sys.platform}", remedy)
    if machine() not in ARCHITECTURES:
        raise SandboxError(
            f"trust: sandboxed has no table of system calls for {machine()!r}",
            f"{remedy} on {' or '.join(ARCHITECTURES)}",
        )
    return require_landlock()
