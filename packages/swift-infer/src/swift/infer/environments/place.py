"""Where environments lie, and whether one can be used.

A folder counts only with its record, which is written last: what an interrupted installation left behind is
never used.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from swift.core.errors import EngineError
from swift.infer.environments.table import Environment, environment

VARIABLE = "SWIFT_ENVIRONMENTS"
RECORD = "swift-environment.json"


@dataclass(frozen=True)
class Record:
    """What an environment was made of.

    Attributes:
        requirements: of the table, as they were then.
        added: further requirements that the user asked for.
        version: installed version of the distribution it was made for.
        size: bytes of its files.
    """

    requirements: list[str]
    added: list[str]
    version: str
    size: int


def environments_folder() -> Path:
    """$SWIFT_ENVIRONMENTS, else swift/environments in $XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "swift/environments"


def folder_of(name: str) -> Path:
    """Where the environment of that name lies, made or not."""
    return environments_folder() / name


def interpreter_in(folder: Path) -> Path:
    """The Python of a virtual environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def record_of(name: str) -> Record | None:
    """The record of a finished environment; None when there is none, or it cannot be read."""
    try:
        values = json.loads((folder_of(name) / RECORD).read_text(encoding="utf-8"))
        return Record(**values)
    except (OSError, ValueError, TypeError):
        return None


def write_record(name: str, record: Record) -> None:
    """Declare an environment finished."""
    staged = folder_of(name) / f"{RECORD}.part"
    staged.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    staged.replace(folder_of(name) / RECORD)


def missing(row: Environment) -> str:
    """Why an environment cannot be used; empty when it can."""
    folder = folder_of(row.name)
    record = record_of(row.name)
    if record is None:
        return "half made" if folder.exists() else "not installed"
    if tuple(record.requirements) != row.requirements:
        return f"made for other versions ({', '.join(record.requirements)})"
    return "" if interpreter_in(folder).exists() else "its interpreter is gone"


def python_of(name: str) -> Path:
    """The interpreter of an environment.

    Raises:
        EngineError: unknown, or not installed.
    """
    row = environment(name)
    problem = missing(row)
    if problem:
        raise EngineError(
            f"the environment {name!r} in {str(folder_of(name))!r} cannot be used: {problem}",
            f"swift engines install {name}",
        )
    return interpreter_in(folder_of(name))


def has_module(row: Environment) -> bool:
    """Whether this very interpreter has what the environment is made for."""
    return importlib.util.find_spec(row.module) is not None


def interpreter_for(name: str, configured: str | None = None) -> Path:
    """Which Python runs an engine's process: the one named, the environment's, or this one when it can.

    Raises:
        EngineError: the one named does not exist, or none has the engine.
    """
    if configured is not None:
        path = Path(configured).expanduser().absolute()
        if not os.access(path, os.X_OK) or path.is_dir():
            raise EngineError(
                f"infer.python {configured!r} is no program", "name a Python that has the engine installed"
            )
        return path
    row = environment(name)
    if missing(row) and has_module(row):
        return Path(sys.executable)
    return python_of(name)


def variables() -> dict[str, str]:
    """This process's environment variables without those that would mix its packages into another Python."""
    mixing = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {key: value for key, value in os.environ.items() if key not in mixing}
