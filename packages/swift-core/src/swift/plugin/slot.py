"""A part in use, which can be swapped while the run goes on and replaced when it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from swift.core.console import say
from swift.core.errors import RAISED_BY_PLUGINS, PluginError, SandboxError, SwiftError, in_one_line
from swift.core.registry import Component, Registry
from swift.plugin.parts import build_component

Check = Callable[[Component, Any, tuple[Any, ...], bool], None]
"""(component, result, arguments, first) raises PluginError when a result breaks the contract.

first: the part is new."""


Invoke = Callable[..., Any]
"""(part, *arguments) -> result: how a part of this kind is called."""


def call_plainly(part: Any, *args: Any, **kwargs: Any) -> Any:
    """The part as it is."""
    return part(*args, **kwargs)


def accept_all(component: Component, result: Any, arguments: tuple[Any, ...], first: bool) -> None:
    """The contract of a kind that checks its results elsewhere."""


class Slot:
    """Calls the part that it holds.

    A part that was just swapped in is on trial: where its first call fails, the former one takes its place
    again and answers that call. A part that fails later is replaced by its fallback, if one is named. Both
    happen on all ranks at the same call: each rank must make the same calls.

    Args:
        config: arguments of the part.
        fallback: component that takes the part's place when it fails; None: the failure goes to the caller.
        check: the contract of results.
        invoke: how the part is called, where that depends on the part.
        any_rank: whether a flag is set on any rank.
    """

    def __init__(
        self,
        registry: Registry,
        component: Component,
        config: Mapping[str, Any],
        *,
        fallback: Component | None = None,
        check: Check = accept_all,
        invoke: Invoke = call_plainly,
        any_rank: Callable[[bool], bool] = bool,
    ) -> None:
        self.registry = registry
        self.component = component
        self.config = dict(config)
        self.check = check
        self.invoke = invoke
        self.any_rank = any_rank
        self.part: Any = build_component(registry.kind, component, config)
        self._fallback = fallback
        self._former: tuple[Component, Any] | None = None
        self._first = True

    @property
    def name(self) -> str:
        """What the configuration calls the part."""
        return self.component.name

    def rebuild(self, component: Component) -> Any:
        """A part made of a newer version of the component; it takes over the state of the one in use.

        Raises:
            PluginError: it cannot be built.
        """
        part = build_component(self.registry.kind, component, self.config)
        carry_state(self.component, self.part, part)
        return part

    def swap(self, component: Component, part: Any) -> None:
        """Use another part from the next call on, on trial."""
        self._former = (self.component, self.part)
        self.component, self.part, self._first = component, part, True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the part.

        Raises:
            SwiftError: it failed, here or on another rank, and nothing takes its place.
        """
        while True:
            result, failure = self._try(args, kwargs)
            if self._settled(failure):
                return result

    def sit_out(self) -> None:
        """Take part in what the ranks agree on about a call for which this rank has no values."""
        while not self._settled(None):
            pass

    def _settled(self, failure: SwiftError | None) -> bool:
        """Whether the call stands on all ranks; if not, another part is in place, to be called again."""
        if not self._is_own():
            return True
        if not self.any_rank(failure is not None):
            self._former, self._first = None, False
            return True
        failed = failure or PluginError(f"{self._described()} failed on another rank")
        if not self._replace(failed):
            failed.everywhere = True
            raise failed
        return False

    def _is_own(self) -> bool:
        """Whether a plugin brought the part: code of packages is not tried, and asks no other rank."""
        return bool(self.component.place)

    def _described(self) -> str:
        return self.component.described(self.registry.kind)

    def _try(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, SwiftError | None]:
        if not self._is_own():
            return self.invoke(self.part, *args, **kwargs), None
        try:
            result = self.invoke(self.part, *args, **kwargs)
        except SandboxError as error:
            return None, error
        except SwiftError as error:
            return None, PluginError(f"{self._described()}: {error.problem}", error.remedy).with_cause(error)
        except RAISED_BY_PLUGINS as error:
            return None, PluginError(
                f"{self._described()} failed: {in_one_line(error)}",
                "correct the plugin; `swift plugin check FILE` tries it without a run",
            ).with_cause(error)
        try:
            self.check(self.component, result, args, self._first)
        except PluginError as error:
            return None, error
        return result, None

    def _replace(self, failed: SwiftError) -> bool:
        """Put the former part or the fallback in the place of the one that failed; False without either."""
        if self._former is not None:
            self.component, self.part = self._former
            self._former, self._first = None, False
            self.registry.replace(self.component)
            say(f"the new {self._described()} failed its first call, the former one stays: {failed}")
            return True
        if self._fallback is not None:
            component, self._fallback = self._fallback, None
            part = build_component(self.registry.kind, component, {})
            say(f"{self._described()} failed, {component.name!r} takes its place from here on: {failed}")
            self.component, self.part, self._first = component, part, True
            return True
        return False


def carry_state(component: Component, old: Any, new: Any) -> None:
    """Hand the state of a part to its successor, where both know how; say so where that fails."""
    if not (hasattr(old, "state_dict") and hasattr(new, "load_state_dict")):
        return
    try:
        new.load_state_dict(old.state_dict())
    except RAISED_BY_PLUGINS as error:
        say(f"the new {component.name!r} does not take the old one's state and starts afresh: {error}")
