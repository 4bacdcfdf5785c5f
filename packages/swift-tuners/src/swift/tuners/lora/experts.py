"""Experts: weights of all of them in one parameter, which is no layer of its own."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from swift.core.console import say
from swift.core.errors import ModelError
from swift.tuners.target_config import ALL_LINEAR
from swift.tuners.targets import base_layers


def expert_parameters(model: nn.Module) -> list[str]:
    """Ends of the names of weights [experts, out, in] that stand for one linear layer an expert."""
    found: dict[str, None] = {}
    for name, module in base_layers(model):
        for key, value in module.named_parameters(recurse=False):
            if value.ndim == 3 and value.is_floating_point():
                found[".".join([*name.split(".")[-2:], key])] = None
    return list(found)


def check_parameters(model: nn.Module, wanted: Sequence[str]) -> None:
    """Refuse target_parameters that are not there.

    Raises:
        ModelError: one matches no parameter.
    """
    names = [
        f"{name}.{key}"
        for name, module in base_layers(model)
        for key, _ in module.named_parameters(recurse=False)
    ]
    for target in wanted:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            there = ", ".join(expert_parameters(model)) or "none"
            raise ModelError(
                f"target_parameters: {target!r} matches no parameter of {type(model).__name__}",
                f"weights of experts there are: {there}",
            )


def tell_of_experts(model: nn.Module, targets: Sequence[str]) -> None:
    """Say that all-linear does not reach the experts, and how to."""
    experts = expert_parameters(model)
    if ALL_LINEAR in targets and experts:
        say(f"the experts' weights get no adapters; for that, set target_parameters: [{', '.join(experts)}]")
