"""What a source file says about itself: the module that it defines, and the headers that it includes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from swift.core.errors import PluginError

CPP = frozenset({".cpp", ".cc", ".cxx"})
CUDA = frozenset({".cu"})
SOURCES = CPP | CUDA

_COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\\n])*")', re.DOTALL)
_MODULE = re.compile(r"\bPYBIND11_MODULE\s*\(\s*(\w+)\s*,")
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)
_TORCH = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"](?:torch|ATen|c10)/', re.MULTILINE)


def module_name(source: Path) -> str | None:
    """Name of the Python module that a source defines; None when it defines none.

    `PYBIND11_MODULE(TORCH_EXTENSION_NAME, m)` is called after its file, `PYBIND11_MODULE(name, m)` literally.

    Raises:
        PluginError: the name is no Python identifier.
    """
    match = _MODULE.search(_code(source))
    if match is None:
        return None
    name = source.stem if match.group(1) == "TORCH_EXTENSION_NAME" else match.group(1)
    if not name.isidentifier():
        raise PluginError(
            f"{str(source)!r} defines a Python module, and {name!r} cannot be imported under that name",
            "rename the file with letters, digits and underscores only",
        )
    return name


def uses_torch(source: Path) -> bool:
    """Whether a source includes torch's headers itself."""
    return _TORCH.search(_code(source)) is not None


def local_headers(sources: Iterable[Path]) -> list[Path]:
    """Files that the sources include, directly or not, looked up beside the file that includes them.

    System and torch headers are not followed: the versions of compiler and torch stand for them.
    """
    found: dict[Path, None] = {}
    waiting = [source.resolve() for source in sources]
    seen = set(waiting)
    while waiting:
        file = waiting.pop()
        for name in _INCLUDE.findall(_code(file)):
            header = (file.parent / name).resolve()
            if header not in seen and header.is_file():
                seen.add(header)
                found[header] = None
                waiting.append(header)
    return sorted(found)


def _code(source: Path) -> str:
    """Its text without comments; strings stay, since `"//"` in one begins no comment."""
    text = source.read_text(encoding="utf-8", errors="replace")
    return _COMMENT.sub(lambda match: match.group(1) or " ", text)
