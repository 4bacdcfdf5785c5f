"""From a registered component and its arguments in YAML to the part that a run calls."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from swift.core.errors import RAISED_BY_PLUGINS, PluginError, SwiftError, in_one_line
from swift.core.registry import Component, Registry

CALLED = frozenset({"loss", "metric", "reward", "filter", "rollout", "loss scale"})
"""Kinds whose functions are the part itself; a function of any other kind is a factory that makes it."""


def build_part(registry: Registry, name: str, config: Mapping[str, Any], *given: Any) -> Any:
    """The part of that name: a class or factory is called, a function is bound to its arguments.

    Args:
        config: arguments as YAML names them.
        given: what the run itself hands to a factory, before those.

    Raises:
        RegistryError: unknown name.
        PluginError: arguments that it does not take, or a constructor that fails.
    """
    return build_component(registry.kind, registry.get(name), config, *given)


def build_component(kind: str, component: Component, config: Mapping[str, Any], *given: Any) -> Any:
    """build_part() of a component that is at hand."""
    target = component.load()
    called = kind in CALLED and not inspect.isclass(target) and component.trust == "trusted"
    if called:
        _check_named(kind, component, target, config)
        return functools.partial(target, **config) if config else target
    check_arguments(kind, component, target, config, given)
    try:
        return target(*given, **config)
    except SwiftError:
        raise
    except RAISED_BY_PLUGINS as error:
        raise PluginError(
            f"{component.described(kind)} cannot be built with {_readable(config)}: {in_one_line(error)}",
            "correct its arguments or its constructor",
        ) from error


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Parameters of a callable by name, or None where Python cannot tell (code in C++)."""
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return None


def takes(target: Callable[..., Any], name: str) -> bool:
    """Whether a callable has a parameter of that name or takes any; True where Python cannot tell."""
    parameters = parameters_of(target)
    if parameters is None or name in parameters:
        return True
    return any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _readable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as an error shows them: what YAML can hold, not the model that a run adds."""
    plain = (str, int, float, bool, list, tuple, dict, type(None))
    return {key: value for key, value in config.items() if isinstance(value, plain)}


def _check_named(kind: str, component: Component, target: Any, config: Mapping[str, Any]) -> None:
    parameters = parameters_of(target)
    if parameters is None or any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    unknown = [key for key in config if key not in parameters]
    if unknown:
        raise PluginError(
            f"{component.described(kind)} has no argument {unknown[0]!r}",
            f"its arguments: {', '.join(parameters) or 'none'}",
        )


def check_arguments(
    kind: str, component: Component, target: Any, config: Mapping[str, Any], given: tuple[Any, ...]
) -> None:
    """Refuse arguments that a class or factory does not take, without calling it.

    Raises:
        PluginError: names the place and the signature.
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return  # code in C++ checks its arguments itself
    try:
        signature.bind(*given, **config)
    except TypeError as error:
        raise PluginError(
            f"{component.described(kind)} does not take the arguments {_readable(config)}: {error}",
            f"its signature: {component.name}{signature}",
        ) from None
