"""The folder OUT/final: the trained weights and tokenizer, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from swift.core.errors import CheckpointError
from swift.core.train import checkpoint

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer

RESUME_ONLY = (
    "optimizer.pt",
    "scheduler.pt",
    "scaler.pt",
    "trainer_state.json",
    "training_args.bin",
    "objective.pt",
    "callbacks.pt",
)


def write_final(trainer: Trainer, output: Path, step: int) -> Path:
    """Make OUT/final out of a checkpoint, without a second copy where the file system has hard links.

    Where a callback shows other weights than the checkpoint's (averaged ones), those are written instead.

    Args:
        step: whose checkpoint it is.

    Raises:
        CheckpointError: it cannot be written; the checkpoints stay.
    """
    final = output / "final"
    last = output / f"checkpoint-{step}"
    if trainer.args.should_save:
        staged = output / checkpoint.STAGING / "final"
        source = last
        try:
            if any(callback.shows_other_weights for callback in trainer.own_callbacks):
                source = output / checkpoint.STAGING / "weights"
                trainer.save_model(str(source))
            _link_weights(source, staged)
            if final.exists():
                shutil.rmtree(final)
            staged.rename(final)
        except OSError as error:
            raise CheckpointError(
                f"final weights {str(final)!r} cannot be written: {error}", f"they are in {str(last)!r}"
            ) from error
        finally:
            checkpoint.discard_staged(output)
    trainer.accelerator.wait_for_everyone()
    return final


def _link_weights(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in source.rglob("*"):
        if (
            path.is_dir()
            or path.name in (*RESUME_ONLY, checkpoint.MANIFEST)
            or path.name.startswith(("rng_state", "objective_"))
        ):
            continue
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, copy)
        except OSError:
            shutil.copy2(path, copy)
