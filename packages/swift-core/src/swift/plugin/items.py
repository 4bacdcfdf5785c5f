"""What an entry of `plugins:` names: a Python file, native code, or an installed module."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from swift.core.errors import ConfigError
from swift.core.registry import Trust

if TYPE_CHECKING:
    from swift.core.config.schema import PluginsConfig

NATIVE = frozenset({".so", ".cpp", ".cc", ".cxx", ".cu"})
SUFFIXES = (".py", *sorted(NATIVE))

Kind = Literal["python", "native", "module"]


@dataclass(frozen=True)
class Plugin:
    """One entry, found but not loaded.

    Attributes:
        item: as the user wrote it.
        path: the file; None for an installed module.
    """

    item: str
    kind: Kind
    trust: Trust
    path: Path | None = None

    def digest(self) -> str:
        """SHA-256 of the file's bytes: what changes when it is edited or rebuilt."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest() if self.path is not None else ""


def find_plugins(config: PluginsConfig, folder: Path | None = None) -> list[Plugin]:
    """All entries, native code first: Python plugins import it.

    Args:
        folder: where the configuration file lies; paths are looked up in the working directory, then here.

    Raises:
        ConfigError: a file that does not exist, or a module that is to be sandboxed.
    """
    found = [_find(item.path, item.trust or config.trust, folder) for item in config.load]
    return sorted(found, key=lambda plugin: plugin.kind != "native")


def _find(item: str, trust: Trust, folder: Path | None) -> Plugin:
    suffix = Path(item).suffix
    if suffix not in SUFFIXES and not _is_dotted_name(item):
        raise ConfigError(
            f"plugin {item!r} is neither a file with a known suffix nor the name of a module",
            f"known suffixes: {', '.join(SUFFIXES)}",
        )
    if suffix not in SUFFIXES:
        if trust == "sandboxed":
            raise ConfigError(
                f"plugin {item!r} is an installed module, and only files can be sandboxed",
                "name its .py file, or set {path: ..., trust: trusted}",
            )
        return Plugin(item, "module", trust)
    return Plugin(item, "native" if suffix in NATIVE else "python", trust, _path(item, folder))


def _is_dotted_name(item: str) -> bool:
    return all(part.isidentifier() for part in item.split("."))


def _path(item: str, folder: Path | None) -> Path:
    given = Path(item).expanduser().absolute()
    candidates = [given] if folder is None else list(dict.fromkeys([given, (folder / item).absolute()]))
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    tried = ", ".join(map(str, candidates))
    raise ConfigError(f"plugin {item!r} does not exist", f"looked for {tried}")
