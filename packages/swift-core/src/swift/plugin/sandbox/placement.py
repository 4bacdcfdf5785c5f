"""Where the run puts the tensors of a call: shared memory that grows by being replaced."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from swift.core.errors import SandboxError
from swift.plugin.sandbox.contents import Place, check_dtype
from swift.plugin.sandbox.frames import Message, body_of
from swift.plugin.sandbox.shared import DTYPE_NAMES, Arena, aligned, count_of

Request = Callable[[Message, float, tuple[int, ...]], Message]

_SMALLEST = 1 << 20
_KEPT_PLANS = 64
_SLOTS = 4  # tensors that may wait at a time without a new mapping


@dataclass(frozen=True)
class Plan:
    """A message whose tensors have their places.

    Attributes:
        body: of its frame.
        copies: where each tensor is copied to; None: it lies in shared memory.
        room: a place that the process may fill.
    """

    body: bytes
    copies: tuple[torch.Tensor | None, ...]
    room: Place


Write = Callable[[list[Place], Place], Message]
"""The message for these places of its tensors, and a room for what comes back."""


class Placement:
    """One arena for the tensors of a call, and slots for those that outlive it: gradients, inputs made there.

    Args:
        request: tells the process of a new arena.
        seconds: for its answer.
    """

    def __init__(self, request: Request, seconds: float) -> None:
        self._request = request
        self._seconds = seconds
        self._numbers = itertools.count()
        self._arenas: dict[int, Arena] = {}
        self._slots: dict[int, int] = {}  # by address
        self._plans: dict[Any, Plan] = {}
        self._current = -1

    def put(self, key: Hashable, tensors: list[torch.Tensor], write: Write, further: int = 0) -> Plan:
        """Put tensors where the next call finds them; those that lie there stay, the former call's copies go.

        Args:
            key: tells what write() writes, but for the tensors' places; dtypes and shapes among it.
            further: bytes of the room.

        Raises:
            SandboxError: one of them cannot cross, or the process has no memory for them.
            TypeError, ValueError: the message is not JSON.
        """
        lying = tuple([self.lying(each) for each in tensors])
        plan = self._plans.get((key, lying))
        if plan is None:
            plan = self._plan(tensors, lying, write, further)
            if len(self._plans) >= _KEPT_PLANS:
                self._plans.clear()
            self._plans[key, lying] = plan
        for copy, tensor in zip(plan.copies, tensors, strict=True):
            if copy is not None:
                copy.copy_(tensor.detach() if tensor.requires_grad else tensor)
        return plan

    def view(self, place: Place, dtype: torch.dtype, shape: Sequence[int]) -> torch.Tensor:
        """What lies at a place."""
        return self._arenas[place[0]].tensor(dtype, shape, place[1])

    def slot(self, dtype: torch.dtype, shape: Sequence[int]) -> tuple[Place, Arena]:
        """A place for what outlives a call, in memory that nobody uses any more.

        Raises:
            SandboxError: it cannot cross, or the process has no memory for it.
        """
        check_dtype(dtype)
        size = count_of(shape) * dtype.itemsize
        number = next((each for each in self._slots.values() if self._fits(each, size)), None)
        if number is None:
            number = self._new(size, self._surplus())
            self._slots[self._arenas[number].address] = number
        return [number, 0, DTYPE_NAMES[dtype], shape], self._arenas[number]

    def lying(self, tensor: torch.Tensor) -> int | None:
        """The slot that a tensor fills.

        Raises:
            SandboxError: it cannot cross.
        """
        check_dtype(tensor.dtype, tensor.layout)
        number = self._slots.get(tensor.data_ptr())
        return number if number is not None and tensor.is_contiguous() else None

    def _fits(self, number: int, size: int) -> bool:
        arena = self._arenas[number]
        return arena.size >= size and not arena.leased

    def _surplus(self) -> list[int]:
        """Slots that are too small; if all wait, the oldest, whose tensor keeps what the process forgets."""
        numbers = list(self._slots.values())
        free = [each for each in numbers if not self._arenas[each].leased]
        return free or numbers[: max(0, len(numbers) - _SLOTS + 1)]

    def _plan(
        self, tensors: list[torch.Tensor], lying: tuple[int | None, ...], write: Write, further: int
    ) -> Plan:
        sizes = [
            aligned(each.numel() * each.dtype.itemsize) if number is None else 0
            for each, number in zip(tensors, lying, strict=True)
        ]
        *offsets, end = itertools.accumulate(sizes, initial=0)
        offsets = [each if number is None else 0 for each, number in zip(offsets, lying, strict=True)]
        known = self._arenas.get(self._current)
        if known is None or known.size < end + further:
            self._current = self._new(end + further, [self._current])
        places: list[Place] = [
            [
                *((self._current, offset) if number is None else (number, 0)),
                DTYPE_NAMES[each.dtype],
                each.shape,
            ]
            for each, number, offset in zip(tensors, lying, offsets, strict=True)
        ]
        copies = tuple(
            self.view(place, each.dtype, each.shape) if number is None else None
            for each, number, place in zip(tensors, lying, places, strict=True)
        )
        room: Place = [self._current, end, None, None]
        return Plan(body_of(write(places, room)), copies, room)

    def _new(self, size: int, drop: Sequence[int]) -> int:
        self._plans.clear()
        for number in drop:
            self._arenas.pop(number, None)
        self._slots = {address: each for address, each in self._slots.items() if each not in drop}
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
