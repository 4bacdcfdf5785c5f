"""Running a plugin's Python file as a module of its own."""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from swift.core.errors import RAISED_BY_PLUGINS, ConfigError, PluginError, SwiftError, in_one_line
from swift.plugin.items import NATIVE

# Not importlib's loader: its cache of compiled files goes by the time of change in whole seconds, so that a
# file that is edited twice within one would keep its older code.


def run_python(path: Path) -> ModuleType:
    """Execute a file; the decorators in it register components.

    Its folder never goes on sys.path: a `copy.py` in it would replace the standard library's.

    Raises:
        PluginError: it fails; the message names the line.
    """
    name = f"swift_user_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pickle look their class's module up
    try:
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    except RAISED_BY_PLUGINS as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise import_error(str(path), path, error) from error
    return module


def import_module(name: str) -> ModuleType:
    """Import an installed module.

    Raises:
        PluginError: it fails.
    """
    try:
        return importlib.import_module(name)
    except RAISED_BY_PLUGINS as error:
        raise import_error(name, None, error, "name a .py file or an installed module") from error


def import_error(what: str, path: Path | None, error: BaseException, remedy: str = "") -> SwiftError:
    """The failure of a plugin while it is imported, with the line of its own file where it happened."""
    line = _line(path, error)
    place = f"{what}:{line}" if line else what
    if isinstance(error, SwiftError):
        named = "" if place in error.problem else f"plugin {place}: "
        return PluginError(f"{named}{error.problem}", error.remedy)
    return ConfigError(
        f"plugin {place} cannot be imported: {in_one_line(error)}",
        remedy or _remedy(path, error),
    )


def _line(path: Path | None, error: BaseException) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return lines[-1] if lines else None


def _remedy(path: Path | None, error: BaseException) -> str:
    if not isinstance(error, ModuleNotFoundError) or path is None or error.name is None:
        return "correct that line; `swift plugin check FILE` tries a plugin without a run"
    beside = [path.with_name(error.name + suffix) for suffix in sorted(NATIVE)]
    native = next((file for file in beside if file.is_file()), None)
    if native is not None:
        return f"name its file under plugins: too: {native}"
    if path.with_name(error.name + ".py").is_file():
        return "a plugin is one file, and its folder is not searched: put both into one file, or install them"
    return f"install {error.name}"
