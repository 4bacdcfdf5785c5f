"""What a locked-down plugin may open."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import swift.plugin
from swift.plugin.sandbox.landlock import MAKE_REG, READ, READ_FILE, TRUNCATE, WRITE_FILE

SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/cuda/lib64")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo", "/dev/urandom", "/dev/zero")

Rule = tuple[Path, int]


def plugin_rules(files: Iterable[Path], scratch: Path) -> list[Rule]:
    """Landlock rules: libraries and the plugin's own files to read, the scratch folder to write.

    Not among them: /proc, the home, the working directory, the folder of the plugin. There is no right to
    make links or folders, nor to remove or rename anything.
    """
    return [
        *((path, READ) for path in (*libraries(), *map(Path, _SYSTEM_FILES))),
        *((path, READ_FILE) for path in files),
        (Path(os.devnull), READ_FILE | WRITE_FILE),
        (scratch, READ | WRITE_FILE | TRUNCATE | MAKE_REG),
    ]


def libraries() -> list[Path]:
    """Folders of the interpreter, of installed packages, of this package, and of the system's libraries."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    found = {Path(prefix, name) for prefix in prefixes for name in ("lib", "lib64")}
    found |= {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {Path(folder).parent for folder in swift.plugin.__path__}
    found |= {Path(folder) for folder in (*SYSTEM_LIBRARIES, *library_path())}
    return sorted(found)


def library_path() -> list[str]:
    """Absolute folders of LD_LIBRARY_PATH: some clusters keep there what torch needs to be imported."""
    return [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder.startswith("/")]
