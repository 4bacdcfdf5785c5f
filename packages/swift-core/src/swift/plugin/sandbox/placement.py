"""Where the run puts the tensors of a call: shared memory that grows by being replaced."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence

import torch

from swift.core.errors import SandboxError
from swift.plugin.sandbox.channel import Message
from swift.plugin.sandbox.contents import Place, check_dtype, size_of
from swift.plugin.sandbox.shared import DTYPE_NAMES, Arena, aligned, count_of

Request = Callable[[Message, float, tuple[int, ...]], Message]

_SMALLEST = 1 << 20
_SLOTS = 4  # gradients that may wait at a time without a new mapping


class Placement:
    """One arena for the tensors of a call, and slots for gradients, which outlive it.

    Args:
        request: tells the process of a new arena.
        seconds: for its answer.
    """

    def __init__(self, request: Request, seconds: float) -> None:
        self._request = request
        self._seconds = seconds
        self._numbers = itertools.count()
        self._arenas: dict[int, Arena] = {}
        self._slots: list[int] = []
        self._current = -1
        self._used = 0

    def begin(self, tensors: list[torch.Tensor], further: int = 0) -> None:
        """Make room for the tensors of the next call and for further bytes; the former call's are gone.

        Raises:
            SandboxError: one of them cannot cross, or the process has no memory for them.
        """
        for tensor in tensors:
            check_dtype(tensor)
        size = size_of(tensors) + aligned(further)
        known = self._arenas.get(self._current)
        if known is None or known.size < size:
            self._current = self._new(size, [self._current])
        self._used = 0

    def put(self, tensor: torch.Tensor) -> Place:
        """Copy a tensor in."""
        place = self.room(tensor.dtype, tensor.shape)
        self.view(place, tensor.dtype, tensor.shape).copy_(tensor.detach())
        return place

    def room(self, dtype: torch.dtype, shape: Sequence[int]) -> Place:
        """A place that the process may fill."""
        place: Place = [self._current, DTYPE_NAMES[dtype], list(shape), self._used]
        self._used += aligned(count_of(shape) * dtype.itemsize)
        return place

    def view(self, place: Place, dtype: torch.dtype, shape: Sequence[int]) -> torch.Tensor:
        """What lies at a place."""
        return self._arenas[place[0]].tensor(dtype, shape, place[3])

    def slot(self, like: torch.Tensor) -> tuple[Place, Arena]:
        """A place for a gradient, in memory that nobody uses any more."""
        size = like.numel() * like.dtype.itemsize
        free = [number for number in self._slots if not self._arenas[number].leased]
        number = next((each for each in free if self._arenas[each].size >= size), None)
        if number is None:
            # Too small ones go. If all wait, the oldest: its tensor keeps the memory, the process forgets it.
            surplus = free or self._slots[: len(self._slots) - _SLOTS + 1]
            self._slots = [each for each in self._slots if each not in surplus]
            number = self._new(size, surplus)
            self._slots.append(number)
        return [number, DTYPE_NAMES[like.dtype], list(like.shape), 0], self._arenas[number]

    def _new(self, size: int, drop: Sequence[int]) -> int:
        for number in drop:
            self._arenas.pop(number, None)
        size = max(_SMALLEST, 1 << (size - 1).bit_length() if size else 0)
        number = next(self._numbers)
        arena, descriptor = Arena.create(size)
        try:
            message: Message = {"op": "arena", "id": number, "bytes": size, "drop": list(drop)}
            answer = self._request(message, self._seconds, (descriptor,))
        finally:
            os.close(descriptor)
        if "error" in answer:
            raise SandboxError(
                f"a sandboxed plugin has no memory for {size:,} bytes of shared tensors",
                "raise plugins.memory_gb",
            )
        self._arenas[number] = arena
        return number
