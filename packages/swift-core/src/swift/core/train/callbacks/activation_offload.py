"""Activations in main memory between the forward and the backward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from swift.core.console import say
from swift.core.errors import ConfigError
from swift.core.train.callbacks.contract import Callback

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer

Packed = Tensor | tuple[torch.device, Tensor]


class ActivationOffload(Callback):
    """Copy what the forward pass saves for the backward pass to main memory (pinned, on a GPU) and back.

    Loss and gradients keep their bits: the copies are exact. Weights are not copied. Each step moves the
    activations over the bus twice; with train.gradient_checkpointing only the inputs of the layers are moved.

    Args:
        min_bytes: smaller tensors stay where they are.

    Raises:
        ConfigError: min_bytes is negative.
    """

    def __init__(self, min_bytes: int = 1 << 20) -> None:
        if min_bytes < 0:
            raise ConfigError(
                f"the callback activation_offload has min_bytes={min_bytes}", "it is at least 0"
            )
        self.min_bytes = min_bytes
        self.moved_bytes = 0

    def attach(self, trainer: Trainer) -> None:
        """Say so where nothing is gained."""
        self._trainer = trainer
        if trainer.args.device.type == "cpu":
            say("activation_offload: on CPU it gains nothing, activations are in main memory already")

    def forwarding(self) -> AbstractContextManager[None]:
        """Move what is saved inside this block."""
        weights = storages(self._trainer.model)

        def pack(tensor: Tensor) -> Packed:
            if not self._worth_it(tensor) or tensor.untyped_storage().data_ptr() in weights:
                return tensor
            self.moved_bytes += tensor.nbytes
            return tensor.device, to_main_memory(tensor)

        context: AbstractContextManager[None] = saved_tensors_hooks(pack, unpack)
        return context

    def _worth_it(self, tensor: Tensor) -> bool:
        return tensor.layout == torch.strided and tensor.nbytes >= self.min_bytes


def storages(model: nn.Module) -> set[int]:
    """Addresses of the memory that holds weights and buffers: they stay alive, whoever saves them."""
    tensors: list[Any] = [*model.parameters(), *model.buffers()]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def to_main_memory(tensor: Tensor) -> Tensor:
    """An exact copy, in page-locked memory when it comes from a GPU: that is twice as fast."""
    copy = torch.empty(tensor.size(), dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    copy.copy_(tensor)
    return copy


def unpack(packed: Packed) -> Tensor:
    """The tensor where it was."""
    if isinstance(packed, Tensor):
        return packed
    device, copy = packed
    return copy.to(device, non_blocking=True)
