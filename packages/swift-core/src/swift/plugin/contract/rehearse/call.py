"""Building and calling a part so that whatever it raises becomes an error about its contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from swift.core.errors import RAISED_BY_PLUGINS, SwiftError, in_one_line
from swift.core.registry import Component
from swift.plugin.contract.fault import fault
from swift.plugin.contract.signature import check_signature
from swift.plugin.parts import build_component, takes

Result = TypeVar("Result")


def guarded(
    kind: str,
    component: Component,
    doing: str,
    remedy: str,
    function: Callable[..., Result],
    *args: Any,
    **named: Any,
) -> Result:
    """The result of a call into the part.

    Args:
        doing: what fails if it raises, as the rest of a sentence.

    Raises:
        PluginError: it raised anything; that is its cause.
    """
    try:
        return function(*args, **named)
    except SwiftError:
        raise
    except RAISED_BY_PLUGINS as error:
        raise fault(kind, component, f"fails {doing}: {in_one_line(error)}", remedy) from error


def named_by(component: Component, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the offered arguments that a factory names, or takes as **arguments."""
    target = component.load()
    return {name: value for name, value in offered.items() if takes(target, name)}


class Made:
    """A part that is built once, by the first of a component's checks.

    Args:
        given: what the run hands to a factory before its arguments.
    """

    def __init__(self, kind: str, component: Component, config: Mapping[str, Any], *given: Any) -> None:
        self.kind = kind
        self.component = component
        self.config = config
        self.given = given
        self._part: Any = None

    def build(self) -> str:
        """Build it, and check what only the built part shows.

        Raises:
            PluginError: it cannot be built, or lacks a method.
        """
        self._part = build_component(self.kind, self.component, self.config, *self.given)
        check_signature(self.kind, self.component, self._part, self.config)
        return f"a {type(self._part).__name__}"

    @property
    def part(self) -> Any:
        """The part; build() has been called."""
        return self._part

    def call(self, *args: Any, **named: Any) -> Any:
        """Call the part.

        Raises:
            PluginError: it raised anything.
        """
        return guarded(
            self.kind, self.component, "when it is called", "correct the plugin", self._part, *args, **named
        )

    def fault(self, problem: str, remedy: str) -> SwiftError:
        """A violation, to be raised."""
        return fault(self.kind, self.component, problem, remedy)
