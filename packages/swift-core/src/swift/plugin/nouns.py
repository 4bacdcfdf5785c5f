"""Tuners, objectives and engines from their registries, with the contract of a plugin's own ones checked."""

from __future__ import annotations

from typing import Any, cast, get_args

from swift.core.errors import PluginError
from swift.core.registry import Component, Registry
from swift.core.types import Task
from swift.plugin.contract.signature import check_signature
from swift.plugin.parts import build_component


def build_noun(registry: Registry, name: str, *given: Any, **named: Any) -> Any:
    """The part of that name, called with what the run hands over.

    Raises:
        RegistryError: unknown name.
        PluginError: a plugin's own part cannot be built, or lacks methods of its protocol.
    """
    component = registry.get(name)
    if not component.place:  # packages are tested; their errors are what they are
        return component.load()(*given, **named)
    part = build_component(registry.kind, component, named, *given)
    check_signature(registry.kind, component, part)
    return part


def objective_task(component: Component) -> Task:
    """How rows are encoded for an objective: its attribute task, or that of its class.

    Raises:
        PluginError: it says none, or one that there is not.
    """
    task = dict(component.attributes).get("task") or getattr(component.load(), "task", None)
    known = get_args(Task)
    if task not in known:
        said = "does not say its task" if task is None else f"has the task {task!r}"
        raise PluginError(
            f"{component.described('objective')} {said}",
            f"register it with task=..., one of {', '.join(known)}",
        )
    return cast("Task", task)
