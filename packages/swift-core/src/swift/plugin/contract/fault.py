"""Errors about parts: where it was registered, what it did, the contract, the remedy."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from swift.core.errors import PluginError
from swift.core.registry import Component
from swift.plugin.contract.kinds import CONTRACTS


def fault(kind: str, component: Component, problem: str, remedy: str) -> PluginError:
    """A violation of the kind's contract, to be raised.

    Args:
        problem: what the part does, as the rest of a sentence that begins with the part.
    """
    contract = CONTRACTS.get(kind)
    rule = f"\n  contract: {contract.sentence}" if contract is not None else ""
    return PluginError(f"{located(component).described(kind)} {problem}{rule}", remedy)


def located(component: Component) -> Component:
    """The component with a place: a package's own has that of its code."""
    return component if component.place else replace(component, place=source_place(component.target))


def source_place(target: Any) -> str:
    """file:line of a class or function, "module:attribute" as it is, or "" for code without Python source."""
    if isinstance(target, str):
        return target
    try:
        return f"{inspect.getsourcefile(target)}:{inspect.getsourcelines(target)[1]}"
    except (TypeError, OSError):
        return ""
