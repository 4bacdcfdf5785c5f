"""The only folder that a plugin can write to, and how much may lie in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

_MAX_FILES = 10_000
_CHECK_EVERY = 0.1  # seconds


class ScratchFull(Exception):
    """More lies in the folder than is allowed."""


class ScratchMeter:
    """Looks into the folder at most every 0.1 s: each file is bounded by an rlimit, their sum only here.

    The folder is flat, and nothing in it is without a name: the plugin can neither make folders nor remove.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._checked = time.perf_counter()

    def check(self) -> None:
        """Measure if it is time.

        Raises:
            ScratchFull: there is too much.
        """
        now = time.perf_counter()
        if now - self._checked < _CHECK_EVERY:
            return
        size, files = usage(self._folder)
        self._checked = time.perf_counter()
        if size > self._limit:
            raise ScratchFull(f"wrote {size:,} bytes of files, more than {self._limit:,}")
        if files > _MAX_FILES:
            raise ScratchFull(f"made {files:,} files, more than {_MAX_FILES:,}")


def usage(folder: Path) -> tuple[int, int]:
    """Bytes on disk and number of files."""
    with os.scandir(folder) as entries:
        sizes = [entry.stat(follow_symlinks=False).st_blocks * 512 for entry in entries]
    return sum(sizes), len(sizes)
