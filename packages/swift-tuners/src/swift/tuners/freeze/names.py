"""Choosing parameters by pattern, by role and by share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from swift.core.errors import ModelError, nearest

Aliases = Mapping[str, Sequence[str]]
"""First name of each parameter -> all its names; a tied one has several."""

LISTED = 12
ROLES = ("embeddings", "head", "norms")


def aliases(model: nn.Module) -> dict[str, list[str]]:
    """All names of each parameter, under the first of them."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        names.setdefault(first.setdefault(id(value), name), []).append(name)
    return names


def matching(pattern: str, names: Aliases, key: str) -> set[str]:
    """First names of the parameters that a pattern matches by whole parts of one of their names.

    Raises:
        ModelError: it matches none; what there is gets listed.
    """
    whole_parts = re.compile(rf"(^|\.)(?:{pattern})(\.|$)")
    found = {first for first, every in names.items() if any(whole_parts.search(name) for name in every)}
    if not found:
        there = sorted({part for every in names.values() for name in every for part in _parts(name)})
        near = nearest(pattern.rpartition(".")[2], there)
        raise ModelError(
            f"{key}: {pattern!r} matches no parameter of the model",
            f"{'near it: ' + ', '.join(near) + '; ' if near else ''}"
            f"parts of names there are: {', '.join(there)}",
        )
    return found


def of_module(wanted: str, model: nn.Module, names: Aliases) -> set[str]:
    """First names of the parameters of a role (embeddings, head, norms) or of modules by pattern.

    Raises:
        ModelError: the model has no such thing.
    """
    if wanted not in ROLES:
        return matching(wanted, names, "freeze_extra_modules")
    modules = _norms(model) if wanted == "norms" else _ends(model, wanted)
    owned = {id(value) for module in modules for value in module.parameters()}
    found = {first for first in names if id(model.get_parameter(first)) in owned}
    if not found:
        raise ModelError(
            f"freeze_extra_modules: {type(model).__name__} shows no {wanted}", "write their name instead"
        )
    return found


def after_share(model: nn.Module, ratio: float) -> set[str]:
    """Names of the parameters that do not lie wholly within the first share of all elements."""
    sizes = {name: value.numel() for name, value in model.named_parameters()}
    bound = int(sum(sizes.values()) * ratio)
    chosen, seen = set(), 0
    for name, size in sizes.items():
        seen += size
        if seen > bound:
            chosen.add(name)
    return chosen


def _ends(model: nn.Module, role: str) -> Iterable[nn.Module]:
    getter = getattr(model, "get_input_embeddings" if role == "embeddings" else "get_output_embeddings", None)
    module = getter() if getter is not None else None
    return [module] if module is not None else []


def _norms(model: nn.Module) -> Iterable[nn.Module]:
    return [module for module in model.modules() if "norm" in type(module).__name__.lower()]


def _parts(name: str) -> list[str]:
    """Parts of a name that say something; numbers of layers do not."""
    return [part for part in name.split(".")[:-1] if not part.isdigit()] or [name]
