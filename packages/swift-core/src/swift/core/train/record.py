"""What a run leaves in its folder: run.json, and who may write there. Loads no torch: launchers import it."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.config.run import RunConfig
from swift.core.console import is_main_process, say
from swift.core.errors import CheckpointError
from swift.core.records import installed_versions, replace_record
from swift.core.train import checkpoint

RUN_FILE = "run.json"
METRICS_FILE = "metrics.jsonl"
FOLDERS = (checkpoint.STAGING, "final", "ema", "profile", "tensorboard")
PACKAGES = (  # ours, and what decides numbers
    "swift-core", "swift-tuners", "swift-parallel", "swift-rlhf", "swift-mm", "swift-infer", "swift-kernels",
    "torch", "transformers", "peft", "accelerate", "datasets", "tokenizers",
)  # fmt: skip


@dataclass(frozen=True)
class RunRecord:
    """OUT/run.json: the resolved configuration, versions, data fingerprints, seed and outcome.

    Attributes:
        data: counts and fingerprints of what was read.
        resolved: what defaults that depend on the machine or stage turned into.
    """

    run: RunConfig
    data: Mapping[str, Any]
    resolved: Mapping[str, Any]

    def write(self, status: str, **outcome: Any) -> None:
        """Replace the file at once, from the main process only."""
        if not is_main_process():
            return
        record = {
            "status": status,
            **outcome,
            "config": self.run.to_dict(),
            "resolved": self.resolved,
            "seed": self.run.loop.seed,
            "data": self.data,
            "packages": installed_versions(PACKAGES),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        replace_record(Path(self.run.checkpoint.output_dir) / RUN_FILE, record)


def claim_output(run: RunConfig) -> Path | None:
    """Prepare the output folder; the checkpoint to continue from, or None for a fresh run.

    Raises:
        CheckpointError: the folder holds another run, or the checkpoint is not whole.
    """
    settings = run.checkpoint
    output = Path(settings.output_dir)
    checkpoint.discard_staged(output)
    if settings.resume_from_checkpoint is not None:
        start = Path(settings.resume_from_checkpoint)
        checkpoint.check(start)
        checkpoint.step_of(start)
        if start.resolve().parent != output.resolve():
            _make_way(output, settings.overwrite_output_dir)
        return start
    if settings.resume and _is_occupied(output):
        return checkpoint.last_good(output, say)
    _make_way(output, settings.overwrite_output_dir)
    return None


def _is_occupied(output: Path) -> bool:
    return bool(checkpoint.checkpoints(output)) or (
        (output / RUN_FILE).exists() and not _came_to_nothing(output)
    )


def _came_to_nothing(output: Path) -> bool:
    """Whether the folder's run failed before its first step, so that only its record is there."""
    try:
        record = json.loads((output / RUN_FILE).read_text(encoding="utf-8"))
    except ValueError:
        return False
    nothing = isinstance(record, dict) and record.get("status") == "failed" and record.get("steps") == 0
    return nothing and not any((output / name).exists() for name in (METRICS_FILE, *FOLDERS))


def _make_way(output: Path, overwrite: bool) -> None:
    """A folder without a run.

    Raises:
        CheckpointError: a file, or another run that must not be deleted.
    """
    if output.exists() and not output.is_dir():
        raise CheckpointError(f"train.output_dir {str(output)!r} is a file", "choose a folder")
    if not _is_occupied(output):
        return
    if not overwrite:
        raise CheckpointError(
            f"train.output_dir {str(output)!r} already holds a run",
            "set train.resume=true to go on from its own last checkpoint, "
            "train.overwrite_output_dir=true to delete it, or another folder",
        )
    _delete_run(output)


def _delete_run(output: Path) -> None:
    """Delete what a run writes, and nothing else that may lie in the folder."""
    if not is_main_process():
        return
    for path in (*checkpoint.checkpoints(output), *(output / name for name in FOLDERS)):
        shutil.rmtree(path, ignore_errors=True)
    for name in (RUN_FILE, METRICS_FILE):
        (output / name).unlink(missing_ok=True)
