"""Bytes that a training process holds whatever the batch is: weights, gradients, optimiser, buckets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swift.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

# Bytes of optimiser state: (a parameter's element sizes, or bytes where the state has its own precision).
STATES_LIKE_PARAMETER = {
    "adamw_torch": 2, "adamw_torch_fused": 2, "sgd": 0, "adagrad": 1, "rmsprop": 1,
}  # fmt: skip
STATE_BYTES = {
    "adamw_8bit": 2, "adamw_bnb_8bit": 2, "lion_8bit": 1, "lion_32bit": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """What one rank holds between two steps, and at most during one. Activations come on top.

    Attributes:
        parameters, trainable: numbers of values, those that have several names counted once.
        weights, gradients, optimizer, buckets: bytes; buckets are the copies of the gradients that travel
            between the ranks.
    """

    parameters: int
    trainable: int
    weights: int
    gradients: int
    optimizer: int
    buckets: int

    @property
    def total(self) -> int:
        """All bytes."""
        return self.weights + self.gradients + self.optimizer + self.buckets


def data_parallel_memory(model: nn.Module, optim: str, world_size: int) -> Memory:
    """Every rank holds everything; more than one rank adds gradient buckets.

    Args:
        model: as it trains, its dtypes and requires_grad set; weights on the meta device suffice.
        optim: train.optim.

    Raises:
        ConfigError: the state of that optimiser is not known.
    """
    every = list(model.parameters())
    trained = [value for value in every if value.requires_grad]
    gradients = _bytes(trained)
    return Memory(
        parameters=sum(value.numel() for value in every),
        trainable=sum(value.numel() for value in trained),
        weights=_bytes(every) + _bytes(model.buffers()),
        gradients=gradients,
        optimizer=optimizer_bytes(trained, optim),
        buckets=gradients if world_size > 1 else 0,
    )


def optimizer_bytes(trained: Iterable[nn.Parameter], optim: str) -> int:
    """State of an optimiser after its first step, without its few counters.

    Raises:
        ConfigError: not one of the optimisers whose state is known.
    """
    if optim in STATES_LIKE_PARAMETER:
        return STATES_LIKE_PARAMETER[optim] * _bytes(trained)
    if optim in STATE_BYTES:
        return STATE_BYTES[optim] * sum(value.numel() for value in trained)
    known = [*STATES_LIKE_PARAMETER, *STATE_BYTES]
    raise ConfigError(f"the memory of train.optim {optim!r} is not known", did_you_mean(optim, known))


def _bytes(tensors: Iterable[object]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)  # type: ignore[attr-defined]
