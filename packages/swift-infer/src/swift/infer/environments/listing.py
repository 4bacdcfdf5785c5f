"""One line for every engine and tool: where it would run, its version, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from swift.core.registry import engines
from swift.infer.environments.place import folder_of, has_module, missing, record_of
from swift.infer.environments.table import ENVIRONMENTS, Environment

GPU_DEVICES = ("/dev/nvidia0", "/dev/kfd")


@dataclass(frozen=True)
class Line:
    """One engine or tool.

    Attributes:
        where: what its code would run in.
        version: installed there; empty when it is not.
        state: "ready", or what is missing and how to get it.
    """

    name: str
    where: str
    version: str
    state: str


def lines() -> list[Line]:
    """Every registered engine, then the tools that have environments."""
    names = dict.fromkeys([*engines.names(), *ENVIRONMENTS])
    return [line_of(name) for name in names]


def line_of(name: str) -> Line:
    """One engine or tool by its name."""
    row = ENVIRONMENTS.get(name)
    if row is not None:
        return _with_environment(row)
    if name == "remote":
        return Line(name, "the URL infer.base_url", "", "ready")
    if name == "transformers":
        return Line(name, "this process", installed(("transformers",)), "ready")
    return Line(name, "this process", "", "ready")  # a plugin's


def installed(distributions: Iterable[str]) -> str:
    """The version of the first of these distributions that this interpreter has; empty without one."""
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def shown(path: Path) -> str:
    """A path, shortened where it lies in the user's home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _with_environment(row: Environment) -> Line:
    problem = missing(row)
    record = record_of(row.name)
    if not problem and record is not None:
        return Line(row.name, shown(folder_of(row.name)), record.version, _gpu(row) or "ready")
    if has_module(row):
        return Line(row.name, "this Python", installed(row.distributions), "ready")
    state = f"{problem}: swift engines install {row.name}"
    return Line(row.name, shown(folder_of(row.name)), "", "; ".join(filter(None, (state, _gpu(row)))))


def gpu_seen() -> bool:
    """Whether this machine has a GPU's device files; drivers are not asked."""
    return any(Path(device).exists() for device in GPU_DEVICES)


def _gpu(row: Environment) -> str:
    """What is missing besides software."""
    return "needs a GPU, and none is seen here" if row.needs_gpu and not gpu_seen() else ""
