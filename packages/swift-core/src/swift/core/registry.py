"""One mechanism for every replaceable part: a name, a lazily imported target, a config that owns its keys.

A package offers a component through the entry point group of its kind. The entry point names a `Component`
in a module that loads neither torch nor the implementation; the implementation is imported when it is built.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args

from swift.core.catalog import PROVIDERS, provider
from swift.core.errors import RegistryError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel


Trust = Literal["trusted", "sandboxed"]


@dataclass(frozen=True)
class Component:
    """What a registry knows of a component before its code is loaded.

    Attributes:
        name: how YAML calls it.
        target: "module:attribute" of the implementation, or the implementation itself.
        config: pydantic model whose fields are the keys that this component owns, or None.
        summary: one line for help pages.
        attributes: facts that others ask for before loading it, such as an objective's task.
        place: "file:line" where a plugin registered it; empty for components of packages.
        trust: "sandboxed" when target is the proxy of a plugin that runs in a process of its own.
    """

    name: str
    target: str | Callable[..., Any]
    config: type[BaseModel] | None = None
    summary: str = ""
    attributes: tuple[tuple[str, Any], ...] = ()
    place: str = ""
    trust: Trust = "trusted"

    def described(self, kind: str) -> str:
        """How errors call it: kind, name, and where a plugin registered it."""
        return f"{kind} {self.name!r}" + (f" ({self.place})" if self.place else "")

    def load(self) -> Any:
        """Import the implementation.

        Raises:
            RegistryError: the module or attribute is missing.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise RegistryError(
                f"component {self.name!r} points at {self.target!r}, which cannot be loaded: {error}",
                "install what is missing, or correct the entry point of the package that offers it",
            ) from error


class Registry:
    """Components of one kind by name, from entry points (found on first use) and from register().

    Args:
        kind: the word for one of them in messages ("tuner").
        group: entry point group ("swift.tuners").
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._registered: dict[str, Component] = {}
        self._from_packages: dict[str, Component] = {}

    @functools.cached_property
    def _offered(self) -> dict[str, EntryPoint]:
        offered: dict[str, EntryPoint] = {}
        for entry in entry_points(group=self.group):
            other = offered.get(entry.name)
            if other is not None and other.value != entry.value:
                raise RegistryError(
                    f"{self.kind} {entry.name!r} is offered twice: {_offer(other)}, and {_offer(entry)}",
                    "uninstall one of the two packages",
                )
            offered[entry.name] = entry
        return offered

    def names(self) -> list[str]:
        """Every known name, sorted."""
        return sorted({*self._offered, *self._registered})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._registered or name in self._offered

    def get(self, name: str) -> Component:
        """The component of that name.

        Raises:
            RegistryError: unknown; the message names the nearest ones or the package to install.
        """
        if name not in self._registered:
            if name not in self._offered:
                raise self._unknown(name)
            if name not in self._from_packages:
                self._from_packages[name] = self._component_of(self._offered[name])
            self._add(self._from_packages[name])
        return self._registered[name]

    def register(self, component: Component) -> Component:
        """Add a component at run time (plugins).

        Raises:
            RegistryError: the name is taken, or its config claims a key differently from another's.
        """
        if component.name in self and not self._is_offer(component):
            first = self._registered.get(component.name)
            brought = (first.place if first else "") or self.distribution(component.name)
            places = " and ".join(place for place in (brought, component.place) if place)
            raise RegistryError(
                f"{self.kind} {component.name!r} is registered twice{f': {places}' if places else ''}",
                f"choose another name; taken: {', '.join(self.names())}",
            )
        return self._add(component)

    def unregister(self, name: str) -> None:
        """Forget a component that register() added; unknown names are ignored."""
        self._registered.pop(name, None)

    def replace(self, component: Component) -> None:
        """Put another component under a name that is registered."""
        self._registered[component.name] = component

    def registered(self) -> dict[str, Component]:
        """What needs no import any more: added by register(), or loaded from its entry point before."""
        return dict(self._registered)

    def restore(self, components: dict[str, Component]) -> None:
        """Put back what registered() returned."""
        self._registered = dict(components)

    def distribution(self, name: str) -> str | None:
        """The installed package that offers a name by an entry point."""
        entry = self._offered.get(name)
        return entry.dist.name if entry is not None and entry.dist is not None else None

    def all(self) -> list[Component]:
        """Every component, loaded from its entry point, sorted by name."""
        return [self.get(name) for name in self.names()]

    def build(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Import the implementation and call it."""
        return self.get(name).load()(*args, **kwargs)

    def _is_offer(self, component: Component) -> bool:
        """Whether a package registers what it offers: its entry point names decorated code."""
        entry = self._offered.get(component.name)
        package = getattr(component.target, "__module__", "").partition(".")[0]
        own = entry is not None and package == entry.module.partition(".")[0]
        return own and component.name not in self._registered

    def _component_of(self, entry: EntryPoint) -> Component:
        """What an entry point names: a Component, or a class or function, decorated or not."""
        loaded = self._import(entry)
        if entry.name in self._registered:  # its decorator has registered it while it was imported
            return self._registered[entry.name]
        if not isinstance(loaded, Component):
            if not callable(loaded):
                raise RegistryError(
                    f"{self.kind} {entry.name!r} is offered {_offer(entry)}, "
                    f"which is a {type(loaded).__name__}",
                    "let the entry point name a class, a function or a swift.core.registry.Component",
                )
            return Component(entry.name, loaded, summary=(loaded.__doc__ or "").strip().partition("\n")[0])
        if loaded.name != entry.name:
            raise RegistryError(
                f"{self.kind} {entry.name!r} is offered {_offer(entry)}, which calls itself {loaded.name!r}",
                "give the entry point and the Component one name",
            )
        return loaded

    def _import(self, entry: EntryPoint) -> Any:
        try:
            return entry.load()
        except Exception as error:
            raise RegistryError(
                f"{self.kind} {entry.name!r} is offered {_offer(entry)}, which cannot be loaded: "
                f"{type(error).__name__}: {error}",
                "reinstall the package that offers it, or uninstall it",
            ) from error

    def _add(self, component: Component) -> Component:
        for other in self._registered.values():
            check_same_claims(self.kind, component, other)
        self._registered[component.name] = component
        return component

    def _unknown(self, name: str) -> RegistryError:
        package = provider(self.kind, name)
        if package is not None:
            return RegistryError(f"{self.kind} {name!r} is not installed", f"pip install {package} brings it")
        known = {*self.names(), *PROVIDERS.get(self.kind, {})}
        return RegistryError(f"unknown {self.kind} {name!r}", did_you_mean(name, known))


def _offer(entry: EntryPoint) -> str:
    """Who offers an entry point, for errors."""
    package = f" by the package {entry.dist.name!r}" if entry.dist is not None else ""
    return f"as {entry.value!r}{package}"


def check_same_claims(kind: str, component: Component, other: Component) -> None:
    """Alternatives of one kind may share a key only with the same type: a reader must not have to guess.

    Raises:
        RegistryError: both configs have a key with different types.
    """
    if component.config is None or other.config is None:
        return
    for key, field in component.config.model_fields.items():
        twin = other.config.model_fields.get(key)
        if twin is not None and not _agree(twin.annotation, field.annotation):
            raise RegistryError(
                f"{kind}s {other.name!r} and {component.name!r} claim the key {key!r} differently: "
                f"{twin.annotation} and {field.annotation}",
                "give the key one type, or rename one of the two",
            )


def _agree(one: Any, other: Any) -> bool:
    """The same type, or one that allows more (str, and str | list[...])."""
    members = [set(get_args(each)) if isinstance(each, UnionType) else {each} for each in (one, other)]
    return members[0] <= members[1] or members[1] <= members[0]


objectives = Registry("objective", "swift.objectives")
tuners = Registry("tuner", "swift.tuners")
strategies = Registry("strategy", "swift.strategies")
engines = Registry("engine", "swift.engines")
datasets = Registry("dataset", "swift.datasets")
tiny_models = Registry("tiny model", "swift.tiny_models")
media_families = Registry("media family", "swift.media_families")
rewards = Registry("reward", "swift.rewards")
losses = Registry("loss", "swift.losses")
optimizers = Registry("optimizer", "swift.optimizers")
metrics = Registry("metric", "swift.metrics")
callbacks = Registry("callback", "swift.callbacks")
schedulers = Registry("scheduler", "swift.schedulers")
templates = Registry("template", "swift.templates")
models = Registry("model", "swift.models")
rollouts = Registry("rollout", "swift.rollouts")
filters = Registry("filter", "swift.filters")
agent_formats = Registry("agent format", "swift.agent_formats")
loss_scales = Registry("loss scale", "swift.loss_scales")
quantizers = Registry("quantizer", "swift.quantizers")
content_filters = Registry("content filter", "swift.content_filters")

REGISTRIES: dict[str, Registry] = {
    registry.kind: registry
    for registry in (
        objectives, tuners, strategies, engines, datasets, tiny_models, media_families,
        rewards, losses, optimizers, metrics, callbacks,
        schedulers, templates, models, rollouts, filters, agent_formats, loss_scales,
        quantizers, content_filters,
    )
}  # fmt: skip
