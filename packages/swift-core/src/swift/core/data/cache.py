"""Encoded samples that outlive the run: one process makes them, the others and later runs map them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from swift.core.console import say
from swift.core.data.cache_store import Damaged, NotStorable, read_entry, write_entry
from swift.core.errors import ConfigError

PATIENCE = 3.0
"""Seconds that a process waits for another one's encoding before it says so."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What fetch() gives.

    Attributes:
        key: of the entry; None where nothing can be kept.
        hit: it was there already.
    """

    value: dict[str, Any]
    key: str | None
    hit: bool


def fetch(folder: Path, key: Callable[[], str], make: Callable[[], dict[str, Any]]) -> Fetched:
    """The value of a key: mapped from its entry, or made and kept.

    While one process makes a value, others that want it wait. An entry appears whole or not at all; one that
    was damaged later is made anew.

    Args:
        folder: of all entries.
        key: fingerprint of everything that decides the value; asked again after the making, so that nothing
            is kept under the name of data that changed meanwhile.

    Raises:
        ConfigError: the folder cannot be written.
    """
    _check_folder(folder)
    try:
        name = key()
    except NotStorable as reason:
        say(f"data: nothing is kept in data.cache_dir: {reason}")
        return Fetched(make(), None, False)
    entry, refusal = folder / name, folder / f"{name}.refused"
    with _lock(folder / f"{name}.lock"):
        found = None if refusal.exists() else _existing(entry)
        if found is not None:
            say(f"data: encoded samples come from the cache ({entry})")
            return Fetched(found, name, True)
        if not refusal.exists():
            return Fetched(_made_and_kept(entry, refusal, key, make), name, False)
    # outside of the lock: ranks that can share nothing should at least not wait for each other
    say(f"data: encoded samples are not kept: {refusal.read_text(encoding='utf-8')}")
    return Fetched(make(), None, False)


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"data.cache_dir {str(folder)!r} cannot be made: {error.strerror or error}",
            "choose another folder",
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"data.cache_dir {str(folder)!r} cannot be written", "choose another folder")


def _lock(path: Path) -> AbstractContextManager[Any]:
    """Held by the process that encodes; it goes with the process, however that ends."""
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=PATIENCE)
    except Timeout:
        say("data: waiting for another process that encodes the same data")
        return lock.acquire()


def _existing(entry: Path) -> dict[str, Any] | None:
    if not entry.exists():
        return None
    try:
        return read_entry(entry)
    except Damaged as reason:
        say(f"data: the cache entry {entry} is damaged ({reason}), so it is made anew")
        shutil.rmtree(entry, ignore_errors=True)
        return None


def _made_and_kept(
    entry: Path, refusal: Path, key: Callable[[], str], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    value = make()
    try:
        unchanged = key() == entry.name
    except NotStorable as reason:
        say(f"data: encoded samples are not kept: {reason}")
        return value
    if unchanged:
        _keep(entry, refusal, value)
    else:
        say("data: a data set changed while it was read, so its samples are not kept")
    return value


def _keep(entry: Path, refusal: Path, value: dict[str, Any]) -> None:
    try:
        write_entry(entry, value)
        say(f"data: encoded samples are kept in {entry}")
    except NotStorable as reason:
        say(f"data: encoded samples are not kept: {reason}")
        refusal.write_text(str(reason), encoding="utf-8")
    except OSError as error:
        say(f"data: encoded samples cannot be kept in {entry}: {error.strerror or error}; training goes on")
