"""Compiling one module; unchanged sources are compiled once ever."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from swift.core.errors import PluginError
from swift.plugin.build.diagnose import first_errors
from swift.plugin.build.sources import SOURCES, local_headers
from swift.plugin.build.toolchain import PRELUDE, Toolchain, find_toolchain, python_include

CACHE_VARIABLE = "SWIFT_PLUGIN_CACHE"


def default_build_root() -> Path:
    """$SWIFT_PLUGIN_CACHE, else swift/plugins in $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "swift/plugins"


def build_module(
    sources: Sequence[Path], *, module_name: str, build_root: Path | None = None, confined: bool = False
) -> Path:
    """Compile and link sources into `NAME.so`, or take the module that was built from the same before.

    "The same" is a SHA-256 over the sources, the headers beside them that they include, the versions of
    compiler, torch and Python, and the options. Processes that build the same module at once wait for the
    first of them.

    Args:
        sources: .cpp, .cc, .cxx and .cu files; one of them defines the module.
        module_name: what PYBIND11_MODULE and `import` call it.
        build_root: cache folder; default_build_root() without it.
        confined: the compiler reads its own files and the sources' folders only, and writes only the result.

    Raises:
        PluginError: no compiler, or the sources do not compile; the message has the first errors.
        SandboxError: confined, and this kernel has no Landlock.
    """
    files = [_source(path) for path in sources]
    chain = find_toolchain(files)
    root = build_root or default_build_root()
    key = _key(files, module_name, chain)
    target = root / f"{module_name}-{key[:16]}" / f"{module_name}.so"
    if target.is_file():
        return target
    with _lock(root, target.parent.name):
        if not target.is_file():
            _build(files, module_name, key, chain, target, confined)
    return target


def _source(path: Path) -> Path:
    if path.suffix not in SOURCES:
        raise PluginError(
            f"{str(path)!r} is no C++ or CUDA source", f"known suffixes: {', '.join(sorted(SOURCES))}"
        )
    if not path.is_file():
        raise PluginError(f"source {str(path)!r} does not exist", "correct the path")
    return path.resolve()


def _key(files: list[Path], name: str, chain: Toolchain) -> str:
    digest = hashlib.sha256()
    for part in [name, *chain.identity()]:
        digest.update(part.encode() + b"\0")
    for path in [PRELUDE, *files, *local_headers(files)]:
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@contextmanager
def _lock(root: Path, name: str) -> Iterator[None]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / f".{name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise PluginError(
            f"compiled plugins cannot be kept in {str(root)!r}: {error}",
            f"name a folder that can be written in ${CACHE_VARIABLE}",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _build(files: list[Path], name: str, key: str, chain: Toolchain, target: Path, confined: bool) -> None:
    staged = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent.parent))
    try:
        prefix = _confinement(_readable(files, chain), staged) if confined else []
        objects = [staged / f"{index}.o" for index in range(len(files))]
        commands = [
            [*prefix, *chain.compile_command(source, result, name, key)]
            for source, result in zip(files, objects, strict=True)
        ]
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(lambda command: _run(command, staged, name), commands))
        module = staged / target.name
        _run([*prefix, *chain.link_command(objects, module)], staged, name)
        target.parent.mkdir(exist_ok=True)
        module.replace(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _run(command: list[str], folder: Path, name: str) -> None:
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PluginError(
            f"plugin module {name!r} does not compile:\n{first_errors(done.stderr or done.stdout)}",
            "correct the source; a file that it includes has to lie beside it"
            if "No such file" in done.stderr
            else "correct the source",
        )


def _confinement(readable: list[Path], staged: Path) -> list[str]:
    """What goes before a command that is to run under Landlock.

    Raises:
        SandboxError: this kernel has none.
    """
    from swift.plugin.sandbox.confine import confined_command
    from swift.plugin.sandbox.landlock import require_landlock

    require_landlock()
    return confined_command([], read=readable, write=[staged])


def _readable(files: list[Path], chain: Toolchain) -> list[Path]:
    """What the compiler needs beside the system's folders: headers, and the folders of the sources."""
    compiler = Path(chain.cxx[0]).resolve().parent
    toolkit = chain.nvcc_folder("") if chain.nvcc is not None else []
    folders = [file.parent for file in files]
    needed = [compiler, chain.torch_folder, python_include(), PRELUDE.parent, *toolkit, *folders]
    return [path for path in dict.fromkeys(needed) if path.exists()]
