"""An optimizer on a tiny module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from swift.core.config.schema import OptimConfig
from swift.core.registry import Component
from swift.core.train.optimizer import build_optimizer
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.fault import fault
from swift.plugin.contract.rehearse.call import guarded

STEPS = 3
LEARNING_RATE = 0.01


def tiny_module() -> nn.Module:
    """A linear layer whose weights are the same at every call."""
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        for index, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape) + index)
    return layer


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, changes every parameter in place, keeps them finite, and does the same twice."""
    yield "builds", lambda: f"a {type(_build(component, config, tiny_module())).__name__}"
    yield "changes parameters", lambda: _changes(component, config)
    yield "deterministic", lambda: _twice(component, config)


def _build(component: Component, config: Mapping[str, Any], module: nn.Module) -> Optimizer:
    settings = OptimConfig(optim=component.name, optim_config=dict(config))
    return build_optimizer(component, module, settings, LEARNING_RATE)


def _train(component: Component, config: Mapping[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters before and after a few steps of least squares."""
    module = tiny_module()
    optimizer = _build(component, config, module)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    inputs = torch.arange(8.0).reshape(2, 4) / 8
    for _ in range(STEPS):
        optimizer.zero_grad()
        module(inputs).square().mean().backward()
        guarded("optimizer", component, "in step()", "correct its step()", optimizer.step)
    return before, [parameter.detach() for parameter in module.parameters()]


def _changes(component: Component, config: Mapping[str, Any]) -> str:
    before, after = _train(component, config)
    for old, new in zip(before, after, strict=True):
        _check_moved(component, old, new)
    return f"largest change after {STEPS} steps: {_distance(before, after):.3g}"


def _check_moved(component: Component, old: Tensor, new: Tensor) -> None:
    if not torch.isfinite(new).all():
        raise fault(
            "optimizer",
            component,
            "makes parameters infinite or NaN",
            "divide by sqrt(v) + eps, and check its signs",
        )
    if torch.equal(old, new):
        raise fault(
            "optimizer",
            component,
            f"leaves a parameter of shape {list(new.shape)} as it was, although it has a gradient",
            "update parameters in place: parameter.add_(...) under torch.no_grad()",
        )


def _twice(component: Component, config: Mapping[str, Any]) -> None:
    results = [_train(component, config)[1] for _ in range(2)]
    if _distance(*results) != 0:
        raise fault(
            "optimizer", component, "takes different steps from the same start", "remove what is random"
        )


def _distance(one: list[Tensor], other: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))
