"""Calling a plugin's functions and bringing what they return into the form that crosses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch

from swift.core.errors import PluginError
from swift.plugin.sandbox.channel import Message
from swift.plugin.sandbox.contents import at, unpack
from swift.plugin.sandbox.shared import DTYPE_NAMES, Arena

_MAX_PENDING = 256


class LossCalls:
    """Evaluates losses; keeps the graphs of those with one value an item until their backward comes."""

    def __init__(self, arenas: Mapping[int, Arena]) -> None:
        self._arenas = arenas
        self._pending: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def forward(self, loss: Callable[..., Any], message: Message) -> Message:
        """Value, and for a scalar loss also the gradient of the inputs.

        `gradient` is where the gradient goes, None where none is wanted; `items` where values by item go.
        """
        for ticket in message["forget"]:
            self._pending.pop(ticket, None)
        inputs = at(message["inputs"], self._arenas).detach()
        targets, extras = (unpack(message[key], self._arenas) for key in ("targets", "extras"))
        wanted = message["gradient"] is not None
        if wanted:
            inputs = (inputs.clone() if message["keep"] else inputs).requires_grad_()
        with torch.set_grad_enabled(wanted), _autocast(message["autocast"]):
            value = loss(inputs, targets, **extras)
        _check_loss(value, inputs, wanted)
        answer: Message = {"dtype": DTYPE_NAMES[value.dtype], "items": False, "ticket": None}
        if value.dim() == 0:
            if wanted:
                _write_gradient(value, inputs, at(message["gradient"], self._arenas))
            return {**answer, "value": float(value.detach())}
        arena, _, shape, offset = message["items"]
        place = [arena, answer["dtype"], shape, offset]
        at(place, self._arenas).copy_(value.detach())
        if wanted and message["keep"]:
            self._pending[message["ticket"]] = (inputs, value)
            answer["ticket"] = message["ticket"]
        if len(self._pending) > _MAX_PENDING:
            self._pending.pop(next(iter(self._pending)))
        return {**answer, "items": True}

    def backward(self, message: Message) -> Message:
        """Gradient of the inputs for a gradient of each item's value."""
        inputs, value = self._pending.pop(message["ticket"])
        weight = at(message["weight"], self._arenas)
        # Not grad_outputs=weight, for which torch imports sympy: seconds, once, in the middle of a run.
        _write_gradient((value * weight).sum(), inputs, at(message["gradient"], self._arenas))
        return {}


def _autocast(dtype: str | None) -> contextlib.AbstractContextManager[Any]:
    if dtype is None:
        return contextlib.nullcontext()
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


def metric_result(result: Any) -> float | dict[str, float]:
    """A number, or numbers by name."""
    if isinstance(result, Mapping):
        return {str(name): float(value) for name, value in result.items()}
    return float(result)


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
