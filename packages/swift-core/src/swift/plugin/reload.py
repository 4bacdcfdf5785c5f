"""Hot reload: a plugin whose file changed is swapped in between two steps, on all ranks or on none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.console import say
from swift.core.errors import PluginError, SwiftError
from swift.core.registry import REGISTRIES
from swift.plugin.items import Plugin
from swift.plugin.live import Live, LiveParts
from swift.plugin.load import Loaded, load_plugin, load_plugins, replace_loaded

if TYPE_CHECKING:
    from swift.core.config.schema import PluginsConfig

PATIENCE = 5.0
"""Seconds that a rank waits for a shared file system to show it the file that rank 0 has seen."""

FromFirst = Callable[[Any], Any]


@dataclass(frozen=True)
class Change:
    """A file that is not what is in use."""

    path: Path
    digest: str


class Reloader:
    """Looks at the plugins' files between two steps.

    Rank 0 decides what has changed; every rank then loads it and builds the parts of the run anew. Where that
    fails on one rank, all keep the version in use, and the broken file is not tried again until it changes.

    Args:
        config: the plugins section, loaded already.
        folder: where the configuration file lies.
        parts: what is in use.
        from_first: the value that rank 0 gives, on every rank.
    """

    def __init__(
        self,
        config: PluginsConfig,
        folder: Path | None,
        parts: LiveParts,
        from_first: FromFirst = lambda value: value,
    ) -> None:
        self.config = config
        self.parts = parts
        self.from_first = from_first
        self.loaded = [item for item in load_plugins(config, folder) if item.plugin.path is not None]
        self.natives = [item.plugin for item in self.loaded if item.plugin.kind == "native"]
        self._stamps = {item.plugin: _stamp(item.plugin) for item in self.loaded}
        self._refused: dict[Path, str] = {}

    def at_step(self, step: int) -> None:
        """Swap in what has changed since the last step; call it at the same step on every rank."""
        for change in self.from_first(self._changes()):
            number = next(n for n, item in enumerate(self.loaded) if item.plugin.path == change.path)
            self._reload(number, change, step)

    def _changes(self) -> list[Change]:
        changes = []
        for item in self.loaded:
            plugin, stamp = item.plugin, _stamp(item.plugin)
            if plugin.path is None or stamp is None or stamp == self._stamps[plugin]:
                continue
            self._stamps[plugin] = stamp
            digest = plugin.digest()
            if digest not in (item.digest, self._refused.get(plugin.path)):
                changes.append(Change(plugin.path, digest))
        return changes

    def _reload(self, number: int, change: Change, step: int) -> None:
        """Load one plugin, and those that import it, as a whole or not at all."""
        stale = [number, *_importers(self.loaded, number)]
        before = {kind: registry.registered() for kind, registry in REGISTRIES.items()}
        failure: SwiftError | None = None
        fresh: list[Loaded] = []
        rebuilt: list[tuple[Live, Any, Any]] = []
        try:
            _await(self.loaded[number].plugin, change.digest)
            fresh = [
                load_plugin(self.loaded[n].plugin, self.config, self.natives, self.loaded[n]) for n in stale
            ]
            rebuilt = self._rebuilt([self.loaded[n] for n in stale], fresh)
        except SwiftError as error:
            failure = error
        if self.parts.any_rank(failure is not None):
            for kind, registry in REGISTRIES.items():
                registry.restore(before[kind])
            for n in stale:
                self.loaded[n].provide()
            self._refused[change.path] = change.digest
            say(f"{change.path} changed, but stays as it was: {failure or 'another rank cannot load it'}")
            return
        for live, component, part in rebuilt:
            live.swap(component, part)
        for n, item in zip(stale, fresh, strict=True):
            self.loaded[n].rest()
            self.loaded[n] = item
        replace_loaded(fresh)
        names = [f"{kind} {component.name!r}" for item in fresh for kind, component in item.components]
        say(f"{change.path} changed: {', '.join(names) or 'it'} swapped in from step {step + 1} on")

    def _rebuilt(self, old: list[Loaded], new: list[Loaded]) -> list[tuple[Live, Any, Any]]:
        """Every part in use that one of these plugins brought, with its successor."""
        offered = {(kind, component.name): component for item in new for kind, component in item.components}
        gone = {(kind, component.name) for item in old for kind, component in item.components}
        rebuilt = []
        for live in self.parts.in_use:
            key = (live.registry.kind, live.component.name)
            if key not in gone:
                continue
            if key not in offered:
                raise PluginError(
                    f"it no longer registers {key[0]} {key[1]!r}, which this run uses", "keep the name"
                )
            rebuilt.append((live, offered[key], live.rebuild(offered[key])))
        return rebuilt


def _stamp(plugin: Plugin) -> tuple[int, int, int] | None:
    """What tells cheaply that a file may have changed; None while it is away (an editor replaces it)."""
    if plugin.path is None:
        return None
    try:
        status = plugin.path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _await(plugin: Plugin, digest: str) -> None:
    """Wait until this rank sees the bytes that rank 0 saw."""
    deadline = time.monotonic() + PATIENCE
    while plugin.digest() != digest:
        if time.monotonic() > deadline:
            raise PluginError(f"{plugin.path} is not the same file on every rank", "save it once more")
        time.sleep(0.05)


def _importers(loaded: list[Loaded], number: int) -> list[int]:
    """Plugins with a reference to the module of another one, or to something that it defines."""
    module = loaded[number].module
    if module is None:
        return []
    return [
        n
        for n, item in enumerate(loaded)
        if n != number
        and item.module is not None
        and any(
            value is module or getattr(value, "__module__", None) == module.__name__
            for value in vars(item.module).values()
        )
    ]
