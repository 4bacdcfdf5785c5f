"""Native plugins in this process: loading a `.cpp` or `.so`, and letting Python plugins import it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

from swift.core.errors import PluginError, SwiftError
from swift.core.registry import REGISTRIES
from swift.plugin.build.folder import place_copy
from swift.plugin.build.module import build_module, default_build_root
from swift.plugin.build.sources import SOURCES, module_name
from swift.plugin.transaction import Registered, registering


@dataclass(frozen=True)
class _Native:
    """A loaded module, and what it registered while it was."""

    module: ModuleType
    components: Registered
    path: Path


_loaded: dict[tuple[str, str], _Native] = {}  # by name and digest
_provided: dict[str, ModuleType] = {}


def load_native(path: Path, *, build_root: Path | None = None) -> ModuleType:
    """Load a module under a fresh name, so that a changed file can be loaded beside the older one.

    A source is compiled first. A built module is loaded from a copy: rebuilding the file does not pull it
    away from under this process. A file that is as it was at an earlier load gives that load's module, and
    what the module registered then is registered again.

    Args:
        path: .cpp, .cc, .cxx, .cu with PYBIND11_MODULE, or .so.
        build_root: cache folder of compiled modules; swift.plugin.build.default_build_root() without it.

    Raises:
        PluginError: it does not compile or cannot be loaded.
    """
    root = build_root or default_build_root()
    name = import_name(path)
    if path.suffix in SOURCES:
        library = build_module([path], module_name=name, build_root=root)
        digest = _digest(library)
    else:
        digest = _digest(path)
        library = root / f"{name}-{digest[:16]}" / f"{name}.so"
        if not library.is_file():
            place_copy(path, library)
    key = (name, digest)
    if key in _loaded:
        _register_again(_loaded[key].components)
    else:
        _loaded[key] = _load(name, library, path.resolve(), digest)
    return _loaded[key].module


def import_name(path: Path) -> str:
    """What Python code imports a native plugin as.

    Raises:
        PluginError: a source that defines no module, or a name that is no identifier.
    """
    if path.suffix not in SOURCES:
        name: str | None = path.name.partition(".")[0]
        if name is None or not name.isidentifier():
            raise PluginError(
                f"{str(path)!r} cannot be imported: {name!r} is no Python identifier", "rename it"
            )
        return name
    if not path.is_file():
        raise PluginError(f"plugin {str(path)!r} does not exist", "correct its path")
    name = module_name(path)
    if name is None:
        raise PluginError(
            f"plugin {str(path)!r} defines no Python module",
            "write PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { ... } into it; where it is one of several "
            "sources, run `swift plugin build` on their folder and list the .so",
        )
    return name


def provide(name: str, module: ModuleType) -> None:
    """Let `import NAME` find a module that load_native() gave, in place of an older version of it.

    Raises:
        PluginError: the name belongs to an installed or already imported module.
    """
    if name in sys.modules and sys.modules[name] is not _provided.get(name):
        raise _taken(name, getattr(sys.modules[name], "__file__", None))
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        if spec is not None and not _is_own(spec.origin):
            raise _taken(name, spec.origin)
    sys.modules[name] = _provided[name] = module


def _is_own(origin: str | None) -> bool:
    """Whether a module that Python would find by itself is a plugin's file, from within its folder."""
    folders = {native.path.parent for native in _loaded.values()}
    return origin is not None and Path(origin).resolve().parent in folders


def _taken(name: str, where: str | None) -> PluginError:
    return PluginError(
        f"native plugin {name!r} would shadow the module of that name ({where or 'built in'})",
        "rename the plugin's file (and the name in PYBIND11_MODULE, where it is written out)",
    )


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise PluginError(f"plugin {str(path)!r} cannot be read: {error}", "correct its path") from error


def _register_again(components: Registered) -> None:
    for kind, component in components:
        if component.name not in REGISTRIES[kind].registered():
            REGISTRIES[kind].register(component)


def _load(name: str, library: Path, path: Path, digest: str) -> _Native:
    import torch  # noqa: F401  (its libraries have to be in the process before the module's symbols are bound)

    fresh = f"swift_native_{digest[:12]}.{name}"
    loader = ExtensionFileLoader(fresh, str(library))
    spec = importlib.util.spec_from_file_location(fresh, library, loader=loader)
    assert spec is not None  # a loader was given
    try:
        with registering() as components:
            module = importlib.util.module_from_spec(spec)
            sys.modules[fresh] = module  # where pickle looks its classes up
            loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(fresh, None)
        raise _load_error(name, path, error) from error
    return _Native(module, components, path)


def _load_error(name: str, path: Path, error: Exception) -> PluginError:
    cause = error.__cause__ or error
    if isinstance(cause, SwiftError):
        return PluginError(f"plugin {str(path)!r}: {cause.problem}", cause.remedy)
    text = f"{type(cause).__name__}: {cause}"
    return PluginError(f"plugin {str(path)!r} cannot be loaded: {text}", _remedy(name, str(error)))


def _remedy(name: str, text: str) -> str:
    if "already registered" in text:
        return (
            "this process holds an older build of it, and pybind11 binds a class once: build it with "
            "`swift plugin build DIR`, or bind its classes with py::module_local(), or restart"
        )
    if "undefined symbol" in text:
        return (
            "build it anew against this torch with `swift plugin build DIR`, which also links the other "
            "sources of its folder"
        )
    if "does not define module export function" in text:
        return f"the file's name and the module's have to agree: write PYBIND11_MODULE({name}, m)"
    if "cannot open shared object file" in text:
        return "it is loaded from a copy: link it with an absolute rpath, or extend LD_LIBRARY_PATH"
    return "correct its PYBIND11_MODULE block, or build it anew with `swift plugin build DIR`"
