"""Making an environment: a virtual one, filled by uv, or by pip where uv is not installed."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from swift.core.errors import EngineError
from swift.infer.environments.place import (
    Record,
    environments_folder,
    folder_of,
    interpreter_in,
    write_record,
)
from swift.infer.environments.table import Environment, environment

SAY_VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


def install(name: str, added: Sequence[str] = (), say: Callable[[str], None] = print) -> Record:
    """Make the environment of that name anew; the one before is deleted first.

    Args:
        added: further requirements, such as another build of torch.
        say: receives a line before each slow step.

    Raises:
        EngineError: unknown name, or a step failed; no environment of that name can be used then.
    """
    row = environment(name)
    with _alone(name):
        folder = folder_of(name)
        if folder.exists():
            say(f"deleting {folder}")
            shutil.rmtree(folder)
        for step in steps(folder, [*row.requirements, *added], shutil.which("uv"), say):
            _run(step, name)
        record = Record(list(row.requirements), list(added), _version(row), size_of(folder))
        write_record(name, record)
    return record


def remove(name: str) -> bool:
    """Delete an environment; whether there was one.

    Raises:
        EngineError: unknown name, or it is being made.
    """
    environment(name)
    with _alone(name):
        folder = folder_of(name)
        found = folder.exists()
        if found:
            shutil.rmtree(folder)
    return found


def steps(
    folder: Path, requirements: Sequence[str], uv: str | None, say: Callable[[str], None]
) -> list[list[str]]:
    """Command lines that make an environment and fill it."""
    python = str(interpreter_in(folder))
    if uv is None:
        say("uv is not installed: taking venv and pip, which download everything anew and are slower")
        create = [sys.executable, "-m", "venv", str(folder)]
        return [create, [python, "-m", "pip", "install", *requirements]]
    create = [uv, "venv", "--no-project", "--python", sys.executable, str(folder)]
    return [create, [uv, "pip", "install", "--python", python, *requirements]]


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; those linked from a package cache count too."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Let no second process make the same environment."""
    try:
        environments_folder().mkdir(parents=True, exist_ok=True)
        lock = (environments_folder() / f"{name}.lock").open("w")
    except OSError as error:
        raise EngineError(
            f"environments cannot be kept in {str(environments_folder())!r}: {error.strerror}",
            "name another folder with the environment variable SWIFT_ENVIRONMENTS",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineError(
                f"the environment {name!r} is being made by another process", "wait until it is done"
            ) from error
        yield


def _run(command: Sequence[str], name: str) -> None:
    """Run one step; what it prints is the user's to see."""
    status = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
    if status:
        raise EngineError(
            f"the environment {name!r} could not be made: {' '.join(command)!r} ended with status {status}",
            "read its messages above, then: swift engines install " + name,
        )


def _version(row: Environment) -> str:
    """The installed version, as the environment's own Python reads it."""
    command = [str(interpreter_in(folder_of(row.name))), "-c", SAY_VERSION, row.distributions[0]]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise EngineError(f"{row.distributions[0]} is not in its environment: {found.stderr.strip()[-300:]}")
    return found.stdout.strip()
