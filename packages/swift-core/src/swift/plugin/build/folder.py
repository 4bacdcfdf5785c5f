"""Building every module of a folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from swift.core.errors import PluginError
from swift.plugin.build.module import build_module
from swift.plugin.build.sources import SOURCES, module_name


@dataclass(frozen=True)
class Built:
    """A module that `import NAME` finds once its file is listed under `plugins:`.

    Attributes:
        seconds: what the build took; near zero when nothing had changed.
    """

    name: str
    path: Path
    seconds: float


def build_folder(folder: Path, *, build_root: Path | None = None) -> list[Built]:
    """Compile every module of a folder to `FOLDER/NAME.so`.

    A source with PYBIND11_MODULE is a module; the sources without are linked into each.

    Raises:
        PluginError: no module there, two of one name, or one does not compile.
    """
    sources = sorted(path for path in folder.iterdir() if path.suffix in SOURCES and path.is_file())
    named = [(module_name(source), source) for source in sources]
    shared = [source for name, source in named if name is None]
    modules: dict[str, Path] = {}
    for name, source in named:
        if name is None:
            continue
        if name in modules:
            raise PluginError(
                f"{str(modules[name])!r} and {str(source)!r} both define the module {name!r}", "rename one"
            )
        modules[name] = source
    if not modules:
        raise PluginError(
            f"no C++ source in {str(folder)!r} defines a Python module",
            "write PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { ... } into one; "
            "`swift plugin new loss NAME --cpp` makes an example",
        )
    return [_build(name, [source, *shared], folder, build_root) for name, source in modules.items()]


def _build(name: str, sources: list[Path], folder: Path, build_root: Path | None) -> Built:
    started = time.monotonic()
    module = build_module(sources, module_name=name, build_root=build_root)
    target = folder / f"{name}.so"
    place_copy(module, target)
    return Built(name, target, time.monotonic() - started)


def place_copy(source: Path, target: Path) -> None:
    """Copy a file so that whoever has the older target open keeps it whole.

    Raises:
        PluginError: the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, staged = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        os.close(descriptor)
        shutil.copyfile(source, staged)
        Path(staged).chmod(0o755)
        Path(staged).replace(target)
    except OSError as error:
        raise PluginError(
            f"{str(target)!r} cannot be written: {error}", "make its folder writable"
        ) from error
