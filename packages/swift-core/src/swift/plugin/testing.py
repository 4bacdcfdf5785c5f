"""Plugins in tests: their parts loaded, checked and built as a run does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.config.schema import PluginsConfig
from swift.core.errors import PluginError, did_you_mean
from swift.core.registry import REGISTRIES, Component, Trust
from swift.plugin.contract.check import Check, check_component
from swift.plugin.load import load_plugins
from swift.plugin.parts import build_part


@dataclass(frozen=True)
class PartReport:
    """One registered part, and what its checks found."""

    kind: str
    component: Component
    checks: list[Check]

    @property
    def failures(self) -> list[str]:
        """What failed, with the reason."""
        return [f"{check.name}: {check.detail}" for check in self.checks if check.status == "failed"]


def load_files(files: Sequence[Path | str], trust: Trust = "trusted") -> list[tuple[str, Component]]:
    """(kind, component) of everything that the files (or installed modules) register.

    Raises:
        ConfigError, PluginError: one of them cannot be loaded.
    """
    config = PluginsConfig.model_validate({"load": [str(file) for file in files], "trust": trust})
    return [item for loaded in load_plugins(config) for item in loaded.components]


def check_files(
    files: Sequence[Path | str],
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    trust: Trust = "trusted",
) -> list[PartReport]:
    """Check everything that the files register.

    Args:
        configs: arguments by the name of the part.

    Raises:
        ConfigError: a file cannot be loaded.
        PluginError: the same, or arguments for a name that is not there.
    """
    components = load_files(files, trust)
    configs = configs or {}
    names = {component.name for _, component in components}
    for name in configs:
        if name not in names:
            raise PluginError(
                f"there are arguments for {name!r}, which is not registered", did_you_mean(name, names)
            )
    return [
        PartReport(kind, component, check_component(kind, component, configs.get(component.name, {})))
        for kind, component in components
    ]


def load_part(kind: str, name: str, files: Sequence[Path | str], *given: Any, **config: Any) -> Any:
    """A part as a run has it: for tests of plugins.

    Args:
        given: what the run hands to a factory, such as the parameters of an optimizer.
        config: its arguments.

    Raises:
        PluginError: a file cannot be loaded, or the part cannot be built.
        RegistryError: the files do not register it.
    """
    load_files(files)
    return build_part(REGISTRIES[kind], name, config, *given)
