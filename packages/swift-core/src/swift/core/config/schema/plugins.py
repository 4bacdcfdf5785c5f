"""plugins: the user's own parts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from swift.core.config.base import Config
from swift.core.registry import Trust


class PluginItem(Config):
    """One plugin; a bare path is short for {path: PATH}."""

    path: str = Field(description=".py, .cpp, .cu or .so file, or an installed module")
    trust: Trust | None = Field(None, description="trusted or sandboxed; default: plugins.trust")


def _items(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    return [{"path": item} if isinstance(item, str) else item for item in items]


class PluginsConfig(Config):
    """plugins: the user's own parts. A plain list is short for {load: [...]}."""

    load: Annotated[list[PluginItem], BeforeValidator(_items)] = Field(
        default_factory=list, description="files or modules that register components, or {path, trust}"
    )
    reload: bool = Field(False, description="swap in a changed file at the next step, without a restart")
    trust: Trust = Field(
        "trusted",
        description="trusted: in this process; sandboxed: in its own, without files or network",
    )
    timeout: float = Field(30.0, gt=0, description="seconds that one call of a sandboxed plugin may take")
    memory_gb: float = Field(4.0, gt=0, description="memory in GiB that a sandboxed plugin may take")
    fallback: dict[str, str] = Field(
        default_factory=dict,
        description="plugin name -> registered name that takes its place when it fails; "
        "without one the run saves and stops",
    )
