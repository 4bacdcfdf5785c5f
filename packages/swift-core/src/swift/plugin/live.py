"""The parts of one run that its plugins may swap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from swift.core.errors import ConfigError
from swift.core.registry import Component, Registry
from swift.plugin.slot import Check, Invoke, Slot, accept_all, call_plainly


class Live(Protocol):
    """Something in use that a newer version of its plugin can take the place of."""

    registry: Registry
    component: Component

    def rebuild(self, component: Component) -> Any:
        """Make the successor; a PluginError leaves everything as it is."""
        ...

    def swap(self, component: Component, part: Any) -> None:
        """Put the successor that rebuild() made in place."""
        ...


@dataclass
class LiveParts:
    """Builds parts as slots, and remembers them for hot reloads.

    Attributes:
        fallback: plugin name -> registered name that takes its place when it fails.
        any_rank: whether a flag is set on any rank.
        in_use: every part that a hot reload can swap.
    """

    fallback: Mapping[str, str] = field(default_factory=dict)
    any_rank: Callable[[bool], bool] = bool
    in_use: list[Live] = field(default_factory=list)

    def has_plugins(self) -> bool:
        """Whether a plugin brought one of the parts."""
        return any(live.component.place for live in self.in_use)

    def slot(
        self,
        registry: Registry,
        name: str,
        config: Mapping[str, Any],
        check: Check = accept_all,
        invoke: Invoke = call_plainly,
        any_rank: Callable[[bool], bool] | None = None,
    ) -> Slot:
        """A registered part with its arguments.

        Args:
            any_rank: bool where the ranks need not agree on its failures; default: they do.

        Raises:
            RegistryError: unknown name, of the part or of its fallback.
            PluginError: it cannot be built.
        """
        slot = Slot(
            registry,
            registry.get(name),
            config,
            fallback=self._fallback_of(registry, name),
            check=check,
            invoke=invoke,
            any_rank=any_rank or self.any_rank,
        )
        self.in_use.append(slot)
        return slot

    def _fallback_of(self, registry: Registry, name: str) -> Component | None:
        other = self.fallback.get(name)
        if other is None:
            return None
        if other == name:
            raise ConfigError(f"plugins.fallback names {name!r} as its own fallback", "name another one")
        return registry.get(other)
