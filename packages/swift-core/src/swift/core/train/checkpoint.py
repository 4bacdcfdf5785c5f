"""Checkpoints that are either whole or absent.

A checkpoint is written into a hidden staging folder, listed in a manifest, flushed to disk, and then renamed:
a kill, a crash or a full disk at any moment leaves the older checkpoints as they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from swift.core.errors import CheckpointError

STAGING = ".saving"
MANIFEST = "manifest.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def commit(staged: Path, final: Path) -> None:
    """Make a staged checkpoint the real one.

    Raises:
        OSError: the disk does not take the manifest; the staged folder is still there.
    """
    files = {
        str(path.relative_to(staged)): path.stat().st_size
        for path in sorted(staged.rglob("*"))
        if path.is_file()
    }
    manifest = staged / MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    for path in (*(staged / name for name in files), manifest):
        _flush(path)
    if final.exists():
        shutil.rmtree(final)  # a checkpoint of the same step, written before a resume went back behind it
    staged.rename(final)
    _flush(final.parent)
    with contextlib.suppress(OSError):  # something else is being saved
        staged.parent.rmdir()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard_staged(output_dir: Path) -> None:
    """Remove what an interrupted save left."""
    shutil.rmtree(output_dir / STAGING, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """The optimiser step in a checkpoint's name.

    Raises:
        CheckpointError: the folder is not called checkpoint-STEP.
    """
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise CheckpointError(
            f"{str(checkpoint)!r} is not called checkpoint-STEP", "give the checkpoint's own folder"
        )
    return int(match.group(1))


def checkpoints(output_dir: Path) -> list[Path]:
    """Checkpoint folders, oldest step first."""
    if not output_dir.is_dir():
        return []
    found = [path for path in output_dir.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def check(checkpoint: Path) -> None:
    """Every file of the manifest is there with its size.

    Raises:
        CheckpointError: names the first file that is missing or cut short.
    """
    manifest = checkpoint / MANIFEST
    remedy = "continue from an older checkpoint, or set train.resume=true to take the last whole one"
    if not checkpoint.is_dir():
        raise CheckpointError(f"checkpoint {str(checkpoint)!r} does not exist", remedy)
    try:
        files: dict[str, int] = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        raise CheckpointError(f"checkpoint {str(checkpoint)!r} has no readable {MANIFEST}", remedy) from None
    for name, size in files.items():
        path = checkpoint / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found:,} bytes instead of {size:,}"
            raise CheckpointError(f"checkpoint {str(checkpoint)!r} is damaged: {name} {state}", remedy)


def last_good(output_dir: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint; damaged newer ones are reported and passed over."""
    for checkpoint in reversed(checkpoints(output_dir)):
        try:
            check(checkpoint)
        except CheckpointError as error:
            warn(error.problem + "; trying the one before")
            continue
        return checkpoint
    return None


def rotate(output_dir: Path, keep: int | None, protected_step: int | None = None) -> None:
    """Delete all but the newest `keep` checkpoints, and that of protected_step."""
    if keep is None:
        return
    for checkpoint in checkpoints(output_dir)[:-keep]:
        if step_of(checkpoint) != protected_step:
            shutil.rmtree(checkpoint)
