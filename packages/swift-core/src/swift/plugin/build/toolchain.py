"""The compilers of this machine and how torch wants to be compiled against."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from swift.core.errors import PluginError
from swift.plugin.build.sources import CUDA, uses_torch

PRELUDE = Path(__file__).with_name("prelude.h")
_STANDARD = "-std=c++20"  # torch's headers ask for it
_COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True)
class Toolchain:
    """What compiles a module.

    Attributes:
        cxx: C++ compiler with the arguments that belong to it.
        cxx_version: its first line of `--version`.
        torch_folder: where torch is installed.
        nvcc: CUDA compiler, when a source needs it.
        cuda_flags: options for nvcc alone.
    """

    cxx: tuple[str, ...]
    cxx_version: str
    torch_folder: Path
    torch_version: str
    nvcc: Path | None = None
    cuda_flags: tuple[str, ...] = ()

    def compile_command(self, source: Path, target: Path, name: str, build_id: str) -> list[str]:
        """Source to object file."""
        defines = (f"-DTORCH_EXTENSION_NAME={name}", "-DTORCH_API_INCLUDE_EXTENSION_H")
        prelude = ("-include", str(PRELUDE)) if uses_torch(source) else ()
        shared = [_STANDARD, "-O2", *defines, own_internals(self.torch_folder, build_id), *prelude]
        includes = [f"-I{folder}" for folder in self.include_folders(source.parent)]
        if source.suffix in CUDA:
            host = [
                "-Xcompiler",
                "-fPIC,-fvisibility=hidden",
                "--expt-relaxed-constexpr",
                "-ccbin",
                self.cxx[0],
            ]
            command = [str(self.nvcc), *self.cuda_flags, *host]
        else:
            command = [*self.cxx, "-fPIC", "-fvisibility=hidden"]  # pybind11 hides its own symbols
        return [*command, *shared, *includes, "-c", str(source), "-o", str(target)]

    def link_command(self, objects: list[Path], target: Path) -> list[str]:
        """Object files to module. Symbols of torch and Python are found in the process that loads it."""
        libraries = ["c10", "torch_cpu", "torch", "torch_python"]
        folders = [self.torch_folder / "lib"]
        if self.nvcc is not None:
            libraries += ["c10_cuda", "torch_cuda", "cudart"]
            folders += [folder for folder in self.nvcc_folder("lib64", "lib") if folder.is_dir()]
        options = [f"-L{folder}" for folder in folders] + [f"-l{library}" for library in libraries]
        return [*self.cxx, "-shared", *map(str, objects), *options, "-o", str(target)]

    def include_folders(self, source_folder: Path) -> list[Path]:
        """Where headers are looked up."""
        include = self.torch_folder / "include"
        cuda = self.nvcc_folder("include") if self.nvcc is not None else []
        return [source_folder, include, include / "torch/csrc/api/include", python_include(), *cuda]

    def nvcc_folder(self, *names: str) -> list[Path]:
        """Folders of the CUDA toolkit that nvcc belongs to."""
        assert self.nvcc is not None
        return [self.nvcc.parent.parent / name for name in names]

    def identity(self) -> list[str]:
        """What makes two builds of the same sources different."""
        parts = [*self.cxx, self.cxx_version, self.torch_version, str(self.torch_folder), str(self.nvcc)]
        return [*parts, *self.cuda_flags, str(sysconfig.get_config_var("EXT_SUFFIX")), _STANDARD, "-O2"]


def find_toolchain(sources: list[Path]) -> Toolchain:
    """The compilers that these sources need.

    Raises:
        PluginError: no compiler, no Python headers, no torch, or CUDA sources without CUDA.
    """
    cxx = find_compiler()
    python_include()
    folder, version = find_torch()
    chain = Toolchain(cxx, _version(cxx), folder, version)
    if not any(source.suffix in CUDA for source in sources):
        return chain
    nvcc, flags = find_nvcc(next(source for source in sources if source.suffix in CUDA))
    return Toolchain(cxx, chain.cxx_version, folder, version, nvcc, flags)


def find_compiler() -> tuple[str, ...]:
    """$CXX, or the first of c++, g++ and clang++.

    Raises:
        PluginError: there is none.
    """
    wanted = shlex.split(os.environ.get("CXX", ""))
    for name in [wanted[0]] if wanted else _COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return (path, *wanted[1:])
    raise PluginError(
        f"no C++ compiler: $CXX is {os.environ['CXX']!r}, which is not there"
        if wanted
        else f"no C++ compiler: none of {', '.join(_COMPILERS)} is on the PATH, and $CXX is not set",
        "install g++ 11 or clang 16 or newer (Debian, Ubuntu: apt-get install g++), or name one in $CXX",
    )


def python_include() -> Path:
    """Folder of Python.h.

    Raises:
        PluginError: Python was installed without its headers.
    """
    folder = Path(sysconfig.get_paths()["include"])
    if not (folder / "Python.h").is_file():
        raise PluginError(
            f"C++ plugins need Python's headers, and {str(folder / 'Python.h')!r} does not exist",
            "install them (Debian, Ubuntu: apt-get install python3-dev)",
        )
    return folder


def find_torch() -> tuple[Path, str]:
    """Folder and version of torch, which is not imported for it.

    Raises:
        PluginError: torch is not installed.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise PluginError(
            "C++ plugins are compiled against torch, which is not installed", "pip install torch"
        )
    return Path(spec.origin).parent, importlib.metadata.version("torch")


def find_nvcc(source: Path) -> tuple[Path, tuple[str, ...]]:
    """The CUDA compiler and the architectures to compile for.

    Raises:
        PluginError: there is none, or this torch is built without CUDA.
    """
    import torch

    if torch.version.cuda is None:
        raise PluginError(
            f"{str(source)!r} is CUDA code, and torch {torch.__version__} is built without CUDA",
            "install a CUDA build of torch, or write the plugin in C++",
        )
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    found = str(Path(home) / "bin/nvcc") if home else shutil.which("nvcc")
    if found is None or not Path(found).is_file():
        raise PluginError(
            f"{str(source)!r} is CUDA code, and nvcc is not there ({found or 'not on the PATH'})",
            f"install the CUDA toolkit {torch.version.cuda}, or set CUDA_HOME",
        )
    return _toolkit_nvcc(Path(found)), _architectures()


def _toolkit_nvcc(nvcc: Path) -> Path:
    """The nvcc inside the toolkit: the one on the PATH may be a link to it or a script that calls it."""
    dry = subprocess.run([str(nvcc), "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False)
    match = re.search(r"^#\$ _HERE_=(.+)$", dry.stderr, re.MULTILINE)
    return Path(match.group(1)) / "nvcc" if match else nvcc.resolve()


def _architectures() -> tuple[str, ...]:
    """The GPUs of this machine; without one every major architecture that nvcc knows."""
    from torch import cuda

    capabilities = {cuda.get_device_capability(index) for index in range(cuda.device_count())}
    if not capabilities:
        return ("-arch=all-major",)
    return tuple(f"-gencode=arch=compute_{a}{b},code=sm_{a}{b}" for a, b in sorted(capabilities))


@functools.lru_cache(maxsize=8)
def _version(compiler: tuple[str, ...]) -> str:
    said = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).partition("\n")[0]


@functools.lru_cache(maxsize=8)
def _internals_version(torch_folder: Path) -> str:
    header = torch_folder / "include/pybind11/detail/internals.h"
    match = re.search(r"#\s*define\s+PYBIND11_INTERNALS_VERSION\s+(\d+)", header.read_text(encoding="utf-8"))
    if match is None:
        raise PluginError(
            f"{str(header)!r} does not say PYBIND11_INTERNALS_VERSION as expected",
            "use a torch version that swift-core lists in its requirements",
        )
    return match.group(1)


def own_internals(torch_folder: Path, build_id: str) -> str:
    """The definition that gives a build its own table of bound classes.

    pybind11 keeps one table a process, under a name that ends in this version, and refuses a class that is
    in it already: a changed source could not be loaded beside the older one. The value is an expression of
    the same number, so that the layout of the table stays as torch's headers have it.
    """
    return f"-DPYBIND11_INTERNALS_VERSION={_internals_version(torch_folder)}+0*0x{build_id[:8]}"
