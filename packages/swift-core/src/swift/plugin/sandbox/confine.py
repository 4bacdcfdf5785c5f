"""Runs one command under Landlock: `python -m swift.plugin.sandbox.confine --read P --write P -- COMMAND ...`

For tools that read untrusted input but do not execute it, such as a compiler (`.incbin "/root/.ssh/id_rsa"`).
The command may start programs, but opens only system folders, this Python's libraries and what is named here,
makes no TCP connection (Landlock ABI 4) and signals nobody outside (ABI 6). It keeps its environment.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from swift.core.errors import SandboxError
from swift.plugin.sandbox.landlock import (
    EXECUTE,
    READ,
    READ_FILE,
    WRITE_FILE,
    handled,
    require_landlock,
    restrict,
)
from swift.plugin.sandbox.readable import libraries

_PROGRAMS = (
    "/usr",
    "/bin",
    "/sbin",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/dev/urandom",
)
_NOT_FOUND = 127  # what a shell answers


def confined_command(
    command: Sequence[str], *, read: Iterable[Path] = (), write: Iterable[Path] = ()
) -> list[str]:
    """The command line that runs a command confined.

    Args:
        read: files and folders to read and execute, beside the system's.
        write: folders where anything may be made, changed and removed.
    """
    flags = [f"--read={path}" for path in read] + [f"--write={path}" for path in write]
    return [sys.executable, "-m", "swift.plugin.sandbox.confine", *flags, "--", *command]


def confine(read: Iterable[Path], write: Iterable[Path]) -> None:
    """Restrict this process and all that it starts.

    Raises:
        SandboxError: no Landlock here.
    """
    everything, _, _ = handled(require_landlock())
    readable = [*map(Path, _PROGRAMS), *libraries(), Path(sys.prefix, "bin"), *read]
    restrict(
        [
            *((path, READ | EXECUTE) for path in readable),
            *((path, everything) for path in write),
            (Path(os.devnull), READ_FILE | WRITE_FILE),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Confine this process and become the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--read", action="append", type=Path, default=[], help="file or folder to read")
    parser.add_argument("--write", action="append", type=Path, default=[], help="folder to write to")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    try:
        confine(given.read, given.write)
        os.execvp(given.command[0], given.command)
    except (SandboxError, OSError) as error:
        print(f"{given.command[0]}: {error}", file=sys.stderr)
        raise SystemExit(_NOT_FOUND) from None


if __name__ == "__main__":
    main()
