"""Tensors in memory that two processes share."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import weakref
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIGNMENT = 64  # bytes: a cache line, and more than any vector instruction asks for

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32, torch.float64, torch.bfloat16, torch.float16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}

Key = tuple[torch.dtype, tuple[int, ...], int]


class Arena:
    """A block of shared memory of fixed size, without a name.

    It is sealed: neither side can shrink it, which would kill the other one with SIGBUS. The other side can
    change its content at any time, so nothing but numbers is read from it.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        """Map size bytes of a descriptor, and close it unless it is wanted for sending."""
        self.size = size
        self.memory = mmap.mmap(descriptor, size)
        self.address = torch.frombuffer(self.memory, dtype=torch.uint8).data_ptr()
        self._tensors: dict[Key, torch.Tensor] = {}
        self._lease: weakref.ref[memoryview] | None = None

    @classmethod
    def create(cls, size: int) -> tuple[Arena, int]:
        """A new block and its descriptor, which the caller sends and closes."""
        descriptor = os.memfd_create("swift-sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        arena = cls(descriptor, size)
        # All pages now, not one fault at a time in the first call. Kernels before 5.14 do not know it.
        with contextlib.suppress(OSError, ValueError):
            arena.memory.madvise(_MADV_POPULATE_WRITE)
        return arena, descriptor

    def tensor(self, dtype: torch.dtype, shape: Sequence[int], offset: int) -> torch.Tensor:
        """A view of the memory; views are kept, because a run repeats its shapes.

        Raises:
            ValueError: it would reach beyond the memory.
        """
        key = (dtype, tuple(shape), offset)
        known = self._tensors.get(key)
        if known is None:
            if len(self._tensors) >= _KEPT_VIEWS:
                self._tensors.clear()
            known = self._tensors[key] = self._view(memoryview(self.memory), *key)
        return known

    def lease(self, dtype: torch.dtype, shape: Sequence[int]) -> torch.Tensor:
        """A view of its beginning that counts as in use until its last reference is gone."""
        window = memoryview(self.memory)
        self._lease = weakref.ref(window)
        return self._view(window, dtype, tuple(shape), 0)

    @property
    def leased(self) -> bool:
        """Whether a leased view is still in use."""
        return self._lease is not None and self._lease() is not None

    def _view(
        self, buffer: memoryview, dtype: torch.dtype, shape: tuple[int, ...], offset: int
    ) -> torch.Tensor:
        count = count_of(shape)
        if offset < 0 or count < 0 or offset + count * dtype.itemsize > self.size:
            raise ValueError(f"a tensor {list(shape)} at {offset} reaches beyond {self.size} shared bytes")
        if count == 0:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(buffer, dtype=dtype, count=count, offset=offset).view(shape)


_MADV_POPULATE_WRITE = 23
_KEPT_VIEWS = 256


def count_of(shape: Sequence[int]) -> int:
    """Number of elements."""
    count = 1
    for length in shape:
        count *= length
    return count


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT
