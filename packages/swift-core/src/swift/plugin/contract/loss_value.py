"""What a loss may return. Shapes: N items."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from swift.core.errors import PluginError
from swift.core.registry import Component
from swift.plugin.contract.fault import fault


def check_loss_value(component: Component, value: Any, inputs: Tensor, *, finite: bool = True) -> None:
    """Refuse a result that cannot be minimised.

    Args:
        value: what the loss returned.
        inputs: what it was called with, [N, ...].
        finite: look at the values too, which waits for the device.

    Raises:
        PluginError: no float tensor, on another device, of another shape, not finite, or detached.
    """
    if not isinstance(value, Tensor):
        raise _broken(
            component, f"a {type(value).__name__}", "return the tensor itself, not loss.item() or a tuple"
        )
    if not value.is_floating_point():
        raise _broken(component, f"a tensor of {value.dtype}", "compute it in floating point")
    if value.device != inputs.device:
        raise _broken(
            component,
            f"a tensor on {value.device} for inputs on {inputs.device}",
            "create tensors with device=inputs.device",
        )
    if value.shape not in ((), (len(inputs),)):
        raise _broken(
            component,
            f"a tensor of shape {list(value.shape)} for {len(inputs)} items",
            "reduce it: .mean() for one value, or the mean over the last dimension for one an item",
        )
    if finite and not torch.isfinite(value).all():
        raise _broken(
            component,
            f"{show(value)}, which is not finite",
            "avoid log(0), exp of large numbers and division by 0: functional.log_softmax, logsumexp, clamp",
        )
    if inputs.requires_grad and not value.requires_grad:
        raise _broken(
            component,
            "a detached tensor, through which no gradient flows",
            "remove .detach(), .item(), .data, torch.no_grad() and argmax from its way",
        )


def _broken(component: Component, what: str, remedy: str) -> PluginError:
    return fault("loss", component, f"returned {what}", remedy)


def show(value: Tensor) -> str:
    return f"{value.item():.6g}" if value.dim() == 0 else f"{value.tolist()[:3]}..."
