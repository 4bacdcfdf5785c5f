"""Output folders that appear complete or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swift.core.errors import CheckpointError


def check_new_folder(output: Path) -> None:
    """Nothing would be overwritten.

    Raises:
        CheckpointError: output is a file, or a folder that holds something.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CheckpointError(f"{str(output)!r} holds something already", "choose a new folder")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder to fill that takes the place of `output` when the block ends, and vanishes when it fails.

    Raises:
        CheckpointError: output holds something already, or cannot be written.
    """
    check_new_folder(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise CheckpointError(f"{str(output)!r} cannot be written: {error}") from error
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp makes folders that only their owner may read
        folder.replace(output)
    except OSError as error:
        raise CheckpointError(f"{str(output)!r} cannot be written: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
