"""Registering what a sandboxed plugin offers: components whose parts live in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swift.core.registry import REGISTRIES, Component
from swift.plugin.items import Plugin

if TYPE_CHECKING:
    from swift.core.config.schema import PluginsConfig


LOAD_SECONDS = 120.0
"""The process imports torch first, on a busy machine slowly."""


def register_sandboxed(plugin: Plugin, config: PluginsConfig, natives: Sequence[Plugin]) -> None:
    """Start a plugin's process, and register a proxy for each part that it offers.

    Args:
        natives: native plugins that it may import.

    Raises:
        SandboxError: no sandbox on this machine, or the plugin fails or offers what cannot be sandboxed.
        PluginError: native code that does not compile.
    """
    from swift.plugin.native import import_name
    from swift.plugin.sandbox import SandboxLimits, load_sandboxed

    assert plugin.path is not None  # find_plugins() refuses modules
    limits = SandboxLimits(
        timeout=config.timeout,
        load_timeout=max(LOAD_SECONDS, config.timeout),
        memory=int(config.memory_gb * 2**30),
    )
    modules = {
        import_name(native.path): _built(native.path)
        for native in natives
        if native.path is not None and native != plugin
    }
    for offer in load_sandboxed(_built(plugin.path), limits, native=modules):
        place = f"{plugin.path}:{offer.line}" if plugin.kind == "python" else str(plugin.path)
        attributes = tuple(offer.attributes.items())
        component = Component(
            offer.name, offer.target, None, offer.summary, attributes, place, trust="sandboxed"
        )
        REGISTRIES[offer.kind].register(component)


def _built(path: Path) -> Path:
    """The file that a process loads: of C++ the compiled module.

    The compiler works for code that is not trusted, so it reads nothing but its own files and the source's
    folder: an assembler directive could otherwise put a secret file into the module.
    """
    from swift.plugin.build.module import build_module
    from swift.plugin.build.sources import SOURCES
    from swift.plugin.native import import_name

    if path.suffix not in SOURCES:
        return path
    return build_module([path], module_name=import_name(path), confined=True)
