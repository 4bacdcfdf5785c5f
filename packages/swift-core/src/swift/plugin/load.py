"""Loading what `plugins:` names; the plugins register components while they are loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from swift.core.errors import PluginError, RegistryError
from swift.core.registry import REGISTRIES, Component
from swift.plugin.items import Plugin, find_plugins
from swift.plugin.python import import_module, run_python
from swift.plugin.transaction import Registered, registering

if TYPE_CHECKING:
    from swift.core.config.schema import PluginsConfig
    from swift.plugin.sandbox.limits import SandboxLimits


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
    for plugin in find_plugins(config, folder):
        key = _key(plugin)
        known = _loaded.get(key)
        if known is None or known.digest != plugin.digest() or known.plugin != plugin:
            _loaded[key] = load_plugin(plugin, config, known)
        result.append(_loaded[key])
    return result


def replace_loaded(loaded: Iterable[Loaded]) -> None:
    """Note what is in use now (after a hot reload)."""
    for item in loaded:
        _loaded[_key(item.plugin)] = item


def load_plugin(plugin: Plugin, config: PluginsConfig, known: Loaded | None = None) -> Loaded:
    """Load one plugin in the place of an older version of it, if there is one.

    Raises:
        ConfigError, PluginError: the older version stays registered.
    """
    digest = plugin.digest()
    with registering(known.components if known is not None else []) as components:
        module: ModuleType | None = None
        if plugin.trust == "sandboxed":
            _load_sandboxed(plugin, config)
        else:
            module = _load_trusted(plugin)
    named = components if plugin.kind != "native" else [_at(plugin, item) for item in components]
    if plugin.kind == "python" and not named:
        raise PluginError(
            f"plugin {str(plugin.path)!r} registers nothing",
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


def _load_sandboxed(plugin: Plugin, config: PluginsConfig) -> None:
    """Start its process and register a proxy for each thing that it offers."""
    from swift.plugin.sandbox import load_sandboxed

    assert plugin.path is not None  # find_plugins() refuses modules
    for offer in load_sandboxed(plugin.path, sandbox_limits(config), native=_native_files(config)):
        component = Component(
            offer.name,
            offer.target,
            None,
            offer.summary,
            tuple(offer.attributes.items()),
            f"{plugin.path}:{offer.line}",
            "sandboxed",
        )
        if offer.kind not in REGISTRIES:
            raise RegistryError(f"plugin {str(plugin.path)!r} registers the unknown kind {offer.kind!r}")
        REGISTRIES[offer.kind].register(component)


def sandbox_limits(config: PluginsConfig) -> SandboxLimits:
    """The section's limits as the sandbox takes them."""
    from swift.plugin.sandbox.limits import SandboxLimits

    return SandboxLimits(timeout=config.timeout, memory=int(config.memory_gb * 2**30))


def _native_files(config: PluginsConfig) -> dict[str, Path]:
    """Native modules that sandboxed Python plugins may import, by name."""
    return {}
