"""Values that cross between the processes: JSON, and tensors as places in shared memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from swift.core.errors import SandboxError
from swift.plugin.sandbox.shared import DTYPE_NAMES, DTYPES, Arena

TENSOR = "$tensor"  # the key that marks a place: [arena, offset, dtype, shape]
DROP, KEEP, COPY = "drop", "keep", "copy"  # a loss's graph; COPY: keep it with a copy of the inputs

Place = list[Any]


def signature(value: Any, found: list[torch.Tensor]) -> Any:
    """What tells a nested value from others, its tensors' contents apart: equal ones have equal pack()s.

    Args:
        found: its tensors are appended here, in a fixed order.
    """
    if isinstance(value, torch.Tensor):
        found.append(value)
        return value.dtype, value.shape
    if isinstance(value, (list, tuple)):
        return "[", *[signature(each, found) for each in value]
    if isinstance(value, (dict, Mapping)):
        return "{", *[(key, signature(each, found)) for key, each in value.items()]
    return repr(value)  # equal numbers of different types, and 0.0 and -0.0, are not the same


def check_dtype(dtype: torch.dtype, layout: torch.layout = torch.strided) -> None:
    """Refuse what shared memory does not carry.

    Raises:
        SandboxError: a dtype or layout that cannot cross.
    """
    if dtype not in DTYPE_NAMES or layout is not torch.strided:
        raise SandboxError(
            f"a {layout} tensor of {dtype} cannot be given to a sandboxed plugin",
            f"dense tensors of these dtypes can: {', '.join(DTYPES)}; or trust: trusted",
        )


def pack(value: Any, places: Iterator[Place]) -> Any:
    """Replace each tensor by the next place."""
    if isinstance(value, torch.Tensor):
        return {TENSOR: next(places)}
    if isinstance(value, Mapping):
        return {key: pack(each, places) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [pack(each, places) for each in value]
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


def fresh(value: Any, copy: bool = False) -> Any:
    """Containers and views of their own for a plugin, which may change them in place, of an unpack()ed value.

    Args:
        copy: tensors too are its own.
    """
    if isinstance(value, torch.Tensor):
        return value.clone() if copy else value.detach()
    if isinstance(value, dict):
        return {key: fresh(each, copy) for key, each in value.items()}
    if isinstance(value, list):
        return [fresh(each, copy) for each in value]
    return value


def at(place: Place, arenas: Mapping[int, Arena]) -> torch.Tensor:
    """The view of a place."""
    arena, offset, dtype, shape = place
    return arenas[arena].tensor(DTYPES[dtype], shape, offset)
