"""Loading what `plugins:` names; the plugins register components while they are loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from swift.core.errors import PluginError
from swift.core.registry import REGISTRIES, Component
from swift.plugin.items import Plugin, find_plugins
from swift.plugin.python import import_module, run_python
from swift.plugin.sandboxed import register_sandboxed
from swift.plugin.transaction import Registered, registering

if TYPE_CHECKING:
    from swift.core.config.schema import PluginsConfig


@dataclass(frozen=True)
class Loaded:
    """A plugin that is in use.

    Attributes:
        digest: of its file when it was loaded.
        components: what it registered.
        module: None for a sandboxed one, which lives elsewhere.
    """

    plugin: Plugin
    digest: str
    components: Registered = field(default_factory=list)
    module: ModuleType | None = None

    def provide(self) -> None:
        """Let `import NAME` of other plugins find a native module (again)."""
        if self.plugin.kind == "native" and self.module is not None and self.plugin.path is not None:
            from swift.plugin.native import import_name, provide

            provide(import_name(self.plugin.path), self.module)

    def rest(self) -> None:
        """End the process of a sandboxed plugin; the next call starts it again."""
        for _, component in self.components:
            if component.trust == "sandboxed":
                component.load().process.close()


_loaded: dict[str, Loaded] = {}


def load_plugins(config: PluginsConfig, folder: Path | None = None) -> list[Loaded]:
    """Load each plugin once, and again where its file has changed since.

    Args:
        folder: where the configuration file lies.

    Raises:
        ConfigError: not found, or fails while it is imported.
        PluginError: registers nothing, registers a name twice, or cannot be sandboxed.
    """
    result = []
    plugins = find_plugins(config, folder)
    natives = [plugin for plugin in plugins if plugin.kind == "native"]
    for plugin in plugins:
        key = _key(plugin)
        known = _loaded.get(key)
        if known is None or known.digest != plugin.digest() or known.plugin.trust != plugin.trust:
            _loaded[key] = load_plugin(plugin, config, natives, known)
        result.append(_loaded[key])
    return result


def rest_sandboxes() -> None:
    """End the processes of all sandboxed plugins until they are called: a launcher needs none."""
    for item in _loaded.values():
        item.rest()


def replace_loaded(loaded: Iterable[Loaded]) -> None:
    """Note what is in use now (after a hot reload)."""
    for item in loaded:
        _loaded[_key(item.plugin)] = item


def load_plugin(
    plugin: Plugin, config: PluginsConfig, natives: Sequence[Plugin] = (), known: Loaded | None = None
) -> Loaded:
    """Load one plugin in the place of an older version of it, if there is one.

    Args:
        natives: native plugins that a sandboxed one may import.

    Raises:
        ConfigError, PluginError: the older version stays registered.
    """
    digest = plugin.digest()
    imported_before = plugin.kind == "module" and plugin.item in sys.modules
    with registering(known.components if known is not None else []) as components:
        module: ModuleType | None = None
        if plugin.trust == "sandboxed":
            register_sandboxed(plugin, config, natives)
        else:
            module = _load_trusted(plugin)
    named = components if plugin.kind != "native" else [_at(plugin, item) for item in components]
    if plugin.kind != "native" and not named and not imported_before:
        raise PluginError(
            f"plugin {_key(plugin)!r} registers nothing",
            'decorate a class or function: from swift.plugin import register_loss; @register_loss("NAME")',
        )
    loaded = Loaded(plugin, digest, named, module)
    loaded.provide()
    return loaded


def _key(plugin: Plugin) -> str:
    return str(plugin.path or plugin.item)


def _at(plugin: Plugin, item: tuple[str, Component]) -> tuple[str, Component]:
    """Code in C++ has no line in Python: its file is its place."""
    kind, component = item
    placed = replace(component, place=str(plugin.path))
    REGISTRIES[kind].restore({**REGISTRIES[kind].registered(), component.name: placed})
    return kind, placed


def _load_trusted(plugin: Plugin) -> ModuleType:
    if plugin.path is None:
        return import_module(plugin.item)
    if plugin.kind == "python":
        return run_python(plugin.path)
    from swift.plugin.native import load_native

    return load_native(plugin.path)
