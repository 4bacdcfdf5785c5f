"""What all training processes agree on. Without a process group there is one, which agrees with itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed


def is_distributed() -> bool:
    """Whether there are other ranks to agree with."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def largest(value: int, device: torch.device | str = "cpu") -> int:
    """The largest value of all ranks."""
    if not is_distributed():
        return value
    shared = torch.tensor(value, device=_device(device))
    distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
    return int(shared)


def any_rank(flag: bool, device: torch.device | str = "cpu") -> bool:
    """Whether the flag is set on some rank."""
    return largest(int(flag), device) > 0


def from_first(value: Any) -> Any:
    """The value that rank 0 gives (any picklable object)."""
    if not is_distributed():
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def from_all(value: Any) -> list[Any]:
    """The values that the ranks give, in their order (any picklable objects)."""
    if not is_distributed():
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def mean_over_ranks(value: torch.Tensor) -> None:
    """Replace a tensor by its mean over all ranks, in place."""
    if is_distributed():
        distributed.all_reduce(value)
        value /= distributed.get_world_size()


def as_first(value: torch.Tensor) -> None:
    """Replace a tensor by that of rank 0, in place."""
    if is_distributed():
        distributed.broadcast(value, src=0)


def _device(device: torch.device | str) -> torch.device | str:
    """NCCL moves GPU tensors only."""
    if distributed.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return device
