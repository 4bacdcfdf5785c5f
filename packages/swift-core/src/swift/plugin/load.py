"""Loading the user's own modules, which register components while they are imported."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from swift.core.errors import ConfigError

_loaded: dict[Path, str] = {}


def load_plugins(items: Sequence[str], folder: Path | None = None) -> None:
    """Import each plugin once: a `.py` path, or the dotted name of an installed module.

    The folder of a plugin never goes on sys.path: a `copy.py` in it would replace the standard library's.

    Args:
        items: paths are looked up in the working directory, then in folder.
        folder: where the configuration file lies.

    Raises:
        ConfigError: not found, or the module fails while it is imported.
    """
    for item in items:
        if item.endswith(".py"):
            _load_file(_find(item, folder))
        else:
            _load_module(item)


def _find(item: str, folder: Path | None) -> Path:
    candidates = [Path(item).expanduser()]
    if folder is not None:
        candidates.append(folder / item)
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    tried = ", ".join(str(candidate.absolute()) for candidate in candidates)
    raise ConfigError(f"plugin {item!r} does not exist", f"looked for {tried}")


def _load_file(path: Path) -> None:
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    if _loaded.get(path) == content:
        return
    name = f"swift_user_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugin {str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        raise ConfigError(
            f"plugin {str(path)!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    _loaded[path] = content


def _load_module(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        raise ConfigError(
            f"plugin module {name!r} cannot be imported: {type(error).__name__}: {error}",
            "name a .py file or an installed module",
        ) from error
