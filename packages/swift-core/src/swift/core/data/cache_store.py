"""One cache entry: a folder with the arrays end to end, everything else pickled, and a manifest of both.

The pickle holds plain values and a few classes of ours, and reading it makes no others: whoever can write
into the folder can change the data, but run nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import hashlib
import json
import mmap
import os
import pickle
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from swift.core.data.dataset import EncodedDataset, Tokens
from swift.core.types import Conversation

ARRAYS, OBJECTS, MANIFEST = "arrays.bin", "objects.pkl", "manifest.json"
ALIGNMENT = 64  # bytes
CLASSES: frozenset[type] = frozenset(
    {
        EncodedDataset,
        Tokens,
        Conversation,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        decimal.Decimal,
    }
)
_BY_NAME = {(each.__module__, each.__qualname__): each for each in CLASSES}


class NotStorable(Exception):
    """Something that an entry cannot hold, or that no fingerprint covers."""


class Damaged(Exception):
    """An entry that is not what was written."""


def write_entry(path: Path, value: dict[str, Any]) -> None:
    """Write a value; the folder appears whole or not at all. Only one process at a time may write an entry.

    Raises:
        NotStorable: the value holds what is neither plain nor an array nor one of CLASSES.
        OSError: there is no room, or no permission.
    """
    for left_by_a_kill in path.parent.glob(f".{path.name}.*"):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.mkdir()
    try:
        with (staged / ARRAYS).open("wb") as arrays, (staged / OBJECTS).open("wb") as objects:
            arrays.write(bytes(ALIGNMENT))  # an empty file cannot be mapped
            _Writer(objects, arrays).dump(value)
        manifest = {name: _described(staged / name) for name in (ARRAYS, OBJECTS)}
        (staged / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        for name in (ARRAYS, OBJECTS, MANIFEST):
            _flush(staged / name)
        staged.rename(path)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def read_entry(path: Path) -> dict[str, Any]:
    """The value; its arrays are pages of the file, private where they are changed.

    Raises:
        Damaged: files are missing, or their bytes are not those that were written.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name in (ARRAYS, OBJECTS):
            if _described(path / name) != manifest[name]:
                raise Damaged(f"{name} is not what was written")
        with (path / ARRAYS).open("rb") as arrays, (path / OBJECTS).open("rb") as objects:
            mapped = mmap.mmap(arrays.fileno(), 0, access=mmap.ACCESS_COPY)
            value: dict[str, Any] = _Reader(objects, mapped).load()
            return value
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _flush(path: Path) -> None:
    with path.open("rb") as file, contextlib.suppress(OSError):  # some network file systems refuse
        os.fsync(file.fileno())


class _Writer(pickle.Pickler):
    """Puts arrays into a file of their own, and refuses what it does not know."""

    def __init__(self, objects: BinaryIO, arrays: BinaryIO) -> None:
        super().__init__(objects, protocol=5)
        self.arrays = arrays

    def persistent_id(self, value: Any) -> Any:
        if type(value) is not np.ndarray or value.dtype.hasobject:
            return None
        self.arrays.write(bytes(-self.arrays.tell() % ALIGNMENT))
        offset = self.arrays.tell()
        self.arrays.write(np.ascontiguousarray(value).data)
        return offset, value.dtype.str, value.shape

    def reducer_override(self, value: Any) -> Any:
        known = value in CLASSES if isinstance(value, type) else type(value) in CLASSES
        if known:
            return NotImplemented
        kind = type(value)
        raise NotStorable(f"they hold a value of type {kind.__module__}.{kind.__qualname__}")


class _Reader(pickle.Unpickler):
    """Finds arrays in the mapped file, and no class but those of CLASSES."""

    def __init__(self, objects: BinaryIO, arrays: mmap.mmap) -> None:
        super().__init__(objects)
        self.arrays = arrays

    def persistent_load(self, pid: Any) -> Any:
        offset, dtype, shape = pid
        return np.ndarray(shape, dtype=np.dtype(dtype), buffer=self.arrays, offset=offset)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _BY_NAME[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong here") from None
