"""Values that cross between the processes: JSON, and tensors as places in shared memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from swift.core.errors import SandboxError
from swift.plugin.sandbox.shared import DTYPE_NAMES, DTYPES, Arena, aligned

TENSOR = "$tensor"  # the key that marks a place: [arena, dtype, shape, offset]

Place = list[Any]


def tensors_in(value: Any) -> list[torch.Tensor]:
    """All tensors in nested mappings and lists, in a fixed order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for each in value.values() for tensor in tensors_in(each)]
    if isinstance(value, list | tuple):
        return [tensor for each in value for tensor in tensors_in(each)]
    return []


def check_dtype(tensor: torch.Tensor) -> None:
    """Refuse what shared memory does not carry.

    Raises:
        SandboxError: a dtype or layout that cannot cross.
    """
    if tensor.dtype not in DTYPE_NAMES or tensor.layout is not torch.strided:
        raise SandboxError(
            f"a {tensor.layout} tensor of {tensor.dtype} cannot be given to a sandboxed plugin",
            f"dense tensors of these dtypes can: {', '.join(DTYPES)}; or trust: trusted",
        )


def size_of(tensors: list[torch.Tensor]) -> int:
    """Bytes that tensors take one behind the other."""
    return sum(aligned(tensor.numel() * tensor.dtype.itemsize) for tensor in tensors)


def pack(value: Any, keep: Callable[[torch.Tensor], Place]) -> Any:
    """Replace each tensor by the place where keep() puts it."""
    if isinstance(value, torch.Tensor):
        return {TENSOR: keep(value)}
    if isinstance(value, Mapping):
        return {key: pack(each, keep) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [pack(each, keep) for each in value] if tensors_in(value) else value
    return value


def unpack(value: Any, arenas: Mapping[int, Arena]) -> Any:
    """pack() undone; the tensors are views of the shared memory."""
    if isinstance(value, dict):
        if TENSOR in value:
            return at(value[TENSOR], arenas)
        return {key: unpack(each, arenas) for key, each in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return [unpack(each, arenas) for each in value]
    return value


def at(place: Place, arenas: Mapping[int, Arena]) -> torch.Tensor:
    """The view of a place."""
    arena, dtype, shape, offset = place
    return arenas[arena].tensor(DTYPES[dtype], shape, offset)
