"""What the optimisers of this package share: one parameter after the other, and state that keeps its type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from swift.core.errors import ConfigError

State = dict[str, Any]
Group = Mapping[str, Any]


class ByParameter(Optimizer, ABC):
    """Calls update() for every parameter that has a gradient.

    torch casts floating state to the type of its parameter when it is loaded. Here it stays as it was saved:
    float32 beside bfloat16 weights, and codes of few bits.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step.

        Raises:
            ConfigError: weights are sharded, so that no matrix is whole here.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    refuse_shards(type(self).__name__, parameter)
                    self.update(parameter, group)
        return loss

    @abstractmethod
    def update(self, parameter: Tensor, group: Group) -> None:
        """Move one parameter along its gradient."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from state_dict(): types as saved, each tensor where its parameter is."""
        super().load_state_dict({**state_dict, "state": {}})
        saved = chain.from_iterable(group["params"] for group in state_dict["param_groups"])
        mine = chain.from_iterable(group["params"] for group in self.param_groups)
        for key, parameter in zip(saved, mine, strict=True):
            if key in state_dict["state"]:
                entries = state_dict["state"][key].items()
                self.state[parameter] = {name: _placed(value, parameter) for name, value in entries}


def _placed(value: Any, parameter: Tensor) -> Any:
    return value.to(parameter.device, copy=True) if isinstance(value, Tensor) else value


def refuse_shards(optimizer: str, parameter: Tensor) -> None:
    """Raise ConfigError where a parameter is a shard of a matrix."""
    if isinstance(parameter, DTensor):
        raise ConfigError(
            f"the optimizer {optimizer} works on whole matrices, and these weights are sharded over ranks",
            "use device.parallel_method=ddp, or train.optim=adamw_torch",
        )


def state_bytes(optimizer: Optimizer) -> int:
    """Memory of an optimiser's state, in bytes."""
    values = chain.from_iterable(state.values() for state in optimizer.state.values())
    return sum(value.nbytes for value in values if isinstance(value, Tensor))
