"""Calling a plugin's functions and bringing what they return into the form that crosses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from swift.core.errors import PluginError
from swift.plugin.sandbox.contents import COPY, DROP, Place, at, fresh, unpack
from swift.plugin.sandbox.frames import Message, number_body
from swift.plugin.sandbox.shared import DTYPE_NAMES, Arena

_MAX_PENDING = 256


Call = Callable[[int], Message | bytes]
"""From the number of a call to its answer, or to the body of that."""


class LossCalls:
    """Evaluates losses; keeps the graphs of those with one value an item until their backward comes."""

    def __init__(self, arenas: Mapping[int, Arena]) -> None:
        self._arenas = arenas
        self._pending: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def bind(self, loss: Callable[..., Any], message: Message) -> Call:
        """Calls that give the value, and for a scalar loss also the gradient of the inputs.

        `gradient` is where the gradient goes, None where none is wanted; `items` the room for values by item.
        `graph` says of that of values by item whether it is kept, to be found again by the number of the
        call, and whether it needs inputs of its own then; other tensors are the next call's in any case.
        """
        graph = message["graph"] if message["gradient"] is not None else DROP
        view = at(message["inputs"], self._arenas)
        arguments = unpack(message["given"], self._arenas)
        gradient = None if message["gradient"] is None else at(message["gradient"], self._arenas)
        wanted = gradient is not None
        dtype = message["autocast"]

        def call(number: int) -> Message | bytes:
            inputs = view.detach()
            if wanted:
                inputs = (inputs.clone() if graph == COPY else inputs).requires_grad_()
            own = fresh(arguments, graph != DROP)
            if torch.is_grad_enabled() is not wanted:
                torch.set_grad_enabled(wanted)  # from here on
            with _autocast(dtype):
                value = loss(inputs, own["targets"], **own["extras"])
            _check_loss(value, inputs, wanted)
            if value.dim():
                if graph != DROP:
                    self._keep(number, inputs, value)
                return self._items(value.detach(), message["items"])
            if gradient is not None:
                _write_gradient(value, inputs, gradient)
            return number_body(value.item(), DTYPE_NAMES[value.dtype])

        return call

    def _items(self, value: torch.Tensor, room: Place) -> Message:
        arena, offset, *_ = room
        dtype = DTYPE_NAMES[value.dtype]
        at([arena, offset, dtype, value.shape], self._arenas).copy_(value)
        return {"items": True, "dtype": dtype}

    def _keep(self, number: int, inputs: torch.Tensor, value: torch.Tensor) -> None:
        self._pending[number] = (inputs, value)
        if len(self._pending) > _MAX_PENDING:
            self._pending.pop(next(iter(self._pending)))

    def forget(self, message: Message) -> Message:
        """Drop graphs whose backward will not come."""
        for number in message["calls"]:
            self._pending.pop(number, None)
        return {}

    def backward(self, message: Message) -> Message:
        """Gradient of the inputs for a gradient of each item's value."""
        inputs, value = self._pending.pop(message["call"])
        weight = at(message["weight"], self._arenas)
        # Not grad_outputs=weight, for which torch imports sympy: seconds, once, in the middle of a run.
        _write_gradient((value * weight).sum(), inputs, at(message["gradient"], self._arenas))
        return {}


_NOTHING = contextlib.nullcontext()


def _autocast(dtype: str | None) -> contextlib.AbstractContextManager[Any]:
    if dtype is None:
        return _NOTHING
    return torch.autocast("cpu", dtype=getattr(torch, dtype))


def _check_loss(value: Any, inputs: torch.Tensor, wanted: bool) -> None:
    if not isinstance(value, torch.Tensor) or value.dtype not in DTYPE_NAMES:
        raise PluginError(f"the loss returned a {type(value).__name__}", "return a tensor")
    if not value.dtype.is_floating_point:
        raise PluginError(f"the loss returned a tensor of {value.dtype}", "return floating-point numbers")
    if value.dim() != 0 and value.shape != inputs.shape[:1]:
        raise PluginError(
            f"the loss returned shape {list(value.shape)} for inputs {list(inputs.shape)}",
            f"return a scalar, or one value an item: [{inputs.shape[0] if inputs.dim() else 1}]",
        )
    if wanted and not value.requires_grad:
        raise PluginError(
            "the loss returned a tensor without gradient",
            "compute it from inputs with torch operations; no .item(), .detach(), numpy or torch.no_grad()",
        )


def _write_gradient(value: torch.Tensor, inputs: torch.Tensor, place: torch.Tensor) -> None:
    (gradient,) = torch.autograd.grad(value, inputs, allow_unused=True)
    if gradient is None:
        raise PluginError("the loss does not depend on its inputs", "compute it from inputs")
    place.copy_(gradient)


def metric_answer(result: Any) -> Message | bytes:
    """A number, or numbers by name."""
    if isinstance(result, Mapping):
        return {"value": {str(name): float(value) for name, value in result.items()}}
    return number_body(float(result), "")


def reward_result(result: Any) -> list[float]:
    """One number a completion."""
    return [float(value) for value in result]


def filter_row(function: Callable[..., Any], row: Message) -> bool | Message | None:
    """Keep, drop or replace a row."""
    result = function(row)
    if result is None or isinstance(result, bool | dict):
        return result
    raise PluginError(
        f"the filter returned a {type(result).__name__}",
        "return True or False to keep or drop the row, or the row that replaces it",
    )
