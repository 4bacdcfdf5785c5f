"""What the trainer keeps: whole checkpoints, what the tuner trained, the state after the last whole step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import (
    ADAPTER_SAFE_WEIGHTS_NAME,
    ADAPTER_WEIGHTS_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)

from swift.core.console import say
from swift.core.errors import (
    RAISED_BY_PLUGINS,
    CheckpointError,
    ModelError,
    PluginError,
    SwiftError,
    in_one_line,
)
from swift.core.models.restore import restore_renamed
from swift.core.protocols import Objective, Tuner
from swift.core.train import checkpoint
from swift.core.train.boundary import Boundaries, Boundary
from swift.core.train.extensible import ExtensibleTrainer
from swift.core.train.metrics import Throughput
from swift.core.train.tuning import restore_tuned

OBJECTIVE_STATE = "objective_{rank}.pt"
TRANSFORMERS_FILES = (
    *(WEIGHTS_NAME, WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME),
    *(ADAPTER_WEIGHTS_NAME, ADAPTER_SAFE_WEIGHTS_NAME),
)


class SavingTrainer(ExtensibleTrainer):
    """Writes checkpoints that are whole or absent, and goes on from them.

    Args:
        objective: its state is kept.
        tuner: saves what it trains; None saves the whole model.
        keep_checkpoints: how many of the newest checkpoints stay; None keeps all.
        kwargs: as in ExtensibleTrainer.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        tuner: Tuner | None = None,
        keep_checkpoints: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.objective = objective
        self.tuner = tuner
        self.keep_checkpoints = keep_checkpoints
        self.throughput = Throughput()
        self.boundaries = Boundaries(objective)
        self._objective_state: Mapping[str, Any] | None = None  # to save instead of the present one
        self._saving = False
        super().__init__(**kwargs)
        # First, so that the step is whole before another callback may fail at its end.
        self.callback_handler.callbacks.insert(0, self.boundaries)

    def _get_output_dir(self, trial: Any) -> str:
        """Checkpoints are written below the staging folder first."""
        output: str = super()._get_output_dir(trial)
        return str(Path(output) / checkpoint.STAGING) if self._saving else output

    def _save_checkpoint(self, model: nn.Module, trial: Any = None) -> None:
        """Write a checkpoint that is whole or absent.

        Raises:
            CheckpointError: it cannot be written; the older ones stay.
        """
        output = Path(self.args.output_dir)
        name = f"checkpoint-{self.state.global_step}"
        staged = output / checkpoint.STAGING / name
        resume_clock = self.throughput.pause()
        self._saving = True
        try:
            staged.mkdir(parents=True, exist_ok=True)
            super()._save_checkpoint(model, trial)
            self._save_objective(staged)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoint.commit(staged, output / name)
                checkpoint.rotate(output, self.keep_checkpoints, self.protected_step)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch reports a full disk as RuntimeError
            checkpoint.discard_staged(output)
            raise CheckpointError(
                f"checkpoint {str(output / name)!r} cannot be written: {error}",
                f"free some space and set train.resume=true; kept: {_names(output)}",
            ) from error
        finally:
            self._saving = False
            resume_clock()
        self.accelerator.wait_for_everyone()

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train to the end; what a failing plugin (or row) interrupts is saved as the last step left it.

        Raises:
            SwiftError: what went wrong, after the save.
        """
        try:
            return super().train(*args, **kwargs)
        except SwiftError as error:
            last = self.boundaries.latest
            if last is not None and self._can_save_after(error):
                self._save_last_step(last)
            raise
        except RAISED_BY_PLUGINS as error:
            if not (self.boundaries.updating and self._make_optimizer is not None):
                raise
            raise PluginError(
                f"the registered optimiser failed in step {self.state.global_step + 1}: {in_one_line(error)}",
                "correct its step(). The weights may be half changed, so this step is not saved; go on with "
                f"train.resume=true from: {_names(Path(self.args.output_dir))}",
            ) from error

    def _can_save_after(self, error: SwiftError) -> bool:
        """Saving needs every rank: where one fails alone, the others wait for it elsewhere."""
        alone = self.args.world_size == 1 or error.everywhere
        return alone and not isinstance(error, CheckpointError) and self.state.global_step > 0

    def _save_last_step(self, boundary: Boundary) -> None:
        name = f"checkpoint-{self.state.global_step}"
        if not (Path(self.args.output_dir) / name).exists():
            boundary.restore()
            self.model.zero_grad()
            self._objective_state = boundary.objective
            self._save_checkpoint(self.model)
        say(f"everything up to step {self.state.global_step} is in {name}: go on with train.resume=true")

    def _save_objective(self, folder: Path) -> None:
        state = self.objective.state_dict() if self._objective_state is None else self._objective_state
        if state:
            torch.save(state, folder / OBJECTIVE_STATE.format(rank=self.args.process_index))

    def _save(self, output_dir: str | None = None, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """What the tuner trained, or the whole model; with the tokenizer."""
        if self.tuner is None:
            super()._save(output_dir, state_dict)
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.tuner.save(self.accelerator.unwrap_model(self.model), folder)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def _run_epoch(self, **kwargs: Any) -> None:
        """One epoch; transformers would take one more step where a resumed run has none left."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**kwargs)
            return
        self.control.should_training_stop = True
        if not (Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}").exists():
            self._save_checkpoint(kwargs["model"])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _fitting(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with _fitting(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        path = Path(resume_from_checkpoint) / OBJECTIVE_STATE.format(rank=self.args.process_index)
        if path.exists():
            self.objective.load_state_dict(torch.load(path, weights_only=True))

    def _load_tuned(self, folder: Path, model: nn.Module) -> bool:
        trained = self.accelerator.unwrap_model(model)
        if restore_tuned(self.tuner, trained, folder):
            return True
        if self.tuner is None or not _is_own_format(folder):
            plain = isinstance(trained, PreTrainedModel) and not _shards(self)
            return plain and restore_renamed(trained, folder)
        self.tuner.load(trained, folder, trainable=True)
        return True


def _shards(trainer: SavingTrainer) -> bool:
    """Whether weights are kept in pieces, which have a format of their own."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def _is_own_format(folder: Path) -> bool:
    """Whether a tuner wrote files that transformers cannot read: neither a model's nor an adapter's."""
    return not any((folder / name).exists() for name in TRANSFORMERS_FILES)


@contextmanager
def _fitting(folder: str | None) -> Iterator[None]:
    """Loading state that another model, tuner or optimiser wrote.

    Raises:
        CheckpointError: it cannot be put into this one.
    """
    try:
        yield
    except (ValueError, RuntimeError, ModelError) as error:
        reason = error.problem if isinstance(error, ModelError) else error
        raise CheckpointError(
            f"checkpoint {folder!r} does not fit this run: {reason}",
            "resume with the model, tuner and optimiser that wrote it, or start anew in another folder",
        ) from error


def _names(output: Path) -> str:
    return ", ".join(path.name for path in checkpoint.checkpoints(output)) or "none"
