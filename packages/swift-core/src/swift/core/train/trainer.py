"""The one trainer. It runs any objective with any tuner on transformers.Trainer's loop.

transformers.Trainer brings the loop, optimisers, schedules, mixed precision, distributed wrapping and resume.
This class replaces five things: the loss is the objective's, means are exact over micro-batches and ranks,
global batches are the same for any number of ranks, checkpoints appear whole or not at all, and evaluation
weighs every token alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import PrinterCallback, TrainingArguments
from transformers.utils import (
    ADAPTER_SAFE_WEIGHTS_NAME,
    ADAPTER_WEIGHTS_NAME,
    SAFE_WEIGHTS_INDEX_NAME,
    SAFE_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
)

from swift.core.console import say
from swift.core.data.sampler import GlobalBatchSampler
from swift.core.errors import CheckpointError, SwiftError
from swift.core.metrics.gathered import Gathered
from swift.core.metrics.use import Metrics
from swift.core.protocols import Objective, Tuner
from swift.core.train import checkpoint
from swift.core.train.boundary import Boundaries, Boundary
from swift.core.train.evaluate import evaluate_loss, samples
from swift.core.train.extensible import ExtensibleTrainer
from swift.core.train.metrics import MetricSums, Throughput, peak_memory_bytes
from swift.core.train.ranks import from_all
from swift.core.types import Batch, Encoded

OBJECTIVE_STATE = "objective_{rank}.pt"
TRANSFORMERS_FILES = (
    *(WEIGHTS_NAME, WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME),
    *(ADAPTER_WEIGHTS_NAME, ADAPTER_SAFE_WEIGHTS_NAME),
)
FILLER = "filler"  # marks a batch that counts for nothing


class Trainer(ExtensibleTrainer):
    """Minimise an objective.

    Args:
        model: the model, already prepared by the tuner.
        objective: what is minimised.
        args: transformers.TrainingArguments.
        tuner: saves what it trains; None saves the whole model.
        metrics: measured at every evaluation beside the loss.
        keep_checkpoints: how many of the newest checkpoints stay; None keeps all.
        between_steps: called with the number of steps taken before the batches of the next one are drawn.
        kwargs: make_optimizer, make_schedule; train_dataset, eval_dataset, processing_class, callbacks,
            optimizers as in transformers.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        args: TrainingArguments,
        *,
        tuner: Tuner | None = None,
        metrics: Metrics | None = None,
        keep_checkpoints: int | None = None,
        between_steps: Callable[[int], None] | None = None,
        **kwargs: Any,
    ) -> None:
        self.objective = objective
        self.tuner = tuner
        self.metrics = metrics
        self.keep_checkpoints = keep_checkpoints
        self.between_steps = between_steps
        self.boundaries = Boundaries(objective)
        self._objective_state: Mapping[str, Any] | None = None  # to save instead of the present one
        self.metric_sums = MetricSums()
        self.throughput = Throughput()
        self._saving = False
        super().__init__(model=model, args=args, data_collator=self._collate, **kwargs)
        self.loss_is_scaled_for_ga = True  # objectives divide by the count of the whole step
        self.pop_callback(PrinterCallback)
        self.add_callback(self.boundaries)

    def _collate(self, items: Sequence[Encoded | list[Encoded]]) -> Batch:
        return self.objective.collate(samples(items)) if items else {}

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of this rank; sharded by our own sampler (or by the stream itself), not by accelerate."""
        options: dict[str, Any] = {
            "collate_fn": self._collate,
            "num_workers": self.args.dataloader_num_workers,
            "pin_memory": self.args.dataloader_pin_memory,
        }
        dataset: Any = self.train_dataset
        if isinstance(dataset, IterableDataset):
            return DataLoader(dataset, batch_size=self.args.train_batch_size, **options)
        sampler = GlobalBatchSampler(
            len(dataset),
            self.args.train_batch_size,
            rank=self.args.process_index,
            world_size=self.args.world_size,
            seed=self.args.seed,
            lengths=dataset.lengths if self.args.train_sampling_strategy == "group_by_length" else None,
        )
        return EpochLoader(dataset, batch_sampler=sampler, **options)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | None]:
        """Micro-batches of one optimiser step, completed by the objective, and their total count."""
        self.boundaries.mark()
        if self.between_steps is not None:
            self.between_steps(self.state.global_step)
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return [], None
        # A rank without a share in the last global batch goes through the motions: all have to synchronise.
        filled = [self._prepare_inputs(batch or self._collate([self.train_dataset[0]])) for batch in batches]
        ready = self.objective.prepare(self.model, filled, self.state.global_step)
        for mine, batch in zip(ready, batches, strict=True):
            mine[FILLER] = not batch
        counts = [torch.as_tensor(self.objective.count(mine)) for mine in ready if not mine[FILLER]]
        total = torch.stack(counts).sum().double() if counts else torch.zeros((), dtype=torch.float64)
        return ready, self.sum_over_ranks(total.to(device)).clamp(min=1.0)

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> None:
        """The objective counts."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """The objective's loss, times the ranks because distributed wrappers average gradients over them."""
        if num_items_in_batch is None:
            raise ValueError("compute_loss needs the step's count; call it through train()")
        filler = inputs.pop(FILLER, False)
        output = self.objective.loss(model, inputs, num_items_in_batch.float())
        if filler:
            return output.loss * 0.0
        self.metric_sums.add(output.metrics)
        self.throughput.add(inputs)
        scale: int = self.accelerator.num_processes
        return output.loss * scale

    def floating_point_ops(self, inputs: Batch) -> int:
        """Not estimated: the formula of transformers does not know packed or frozen models."""
        return 0

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        """Sum a tensor over all ranks."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return values
        values = values.to(self.args.device)
        distributed.all_reduce(values)
        return values

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the objective's metrics, throughput and peak memory to a training report."""
        if "loss" in logs:
            logs.update(self.metric_sums.drain(self.sum_over_ranks))
            logs.update(self.throughput.drain(self.sum_over_ranks))
            logs["peak_memory_bytes"] = peak_memory_bytes(self.args.device)
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Mean loss over a whole data set, each token (or pair) weighing the same, and metrics."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        resume_clock = self.throughput.pause()
        gathered = Gathered() if self.metrics is not None and self.metrics.of_predictions else None
        with self.presented():
            figures = evaluate_loss(
                self.model,
                self.objective,
                dataset,
                batch_size=self.args.per_device_eval_batch_size,
                device=self.args.device,
                rank=self.args.process_index,
                world_size=self.args.world_size,
                reduce=self.sum_over_ranks,
                gathered=gathered,
            )
        if self.metrics is not None and gathered is not None:
            shared = len(dataset) >= self.args.world_size  # else every rank has measured everything
            figures |= self.metrics.predicted(gathered.whole(from_all) if shared else gathered.whole())
        resume_clock()
        named = {f"{metric_key_prefix}_{name}": value for name, value in figures.items()}
        self.log(dict(named))
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named

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
            if self.tuner is None or not _is_own_format(Path(resume_from_checkpoint)):
                super()._load_from_checkpoint(resume_from_checkpoint, model)
            else:
                trained = self.accelerator.unwrap_model(model or self.model)
                self.tuner.load(trained, Path(resume_from_checkpoint), trainable=True)
        path = Path(resume_from_checkpoint) / OBJECTIVE_STATE.format(rank=self.args.process_index)
        if path.exists():
            self.objective.load_state_dict(torch.load(path, weights_only=True))


class EpochLoader(DataLoader[Any]):
    """Tells its sampler which epoch begins; the training loop asks for this."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


def _is_own_format(folder: Path) -> bool:
    """Whether a tuner wrote files that transformers cannot read: neither a model's nor an adapter's."""
    return not any((folder / name).exists() for name in TRANSFORMERS_FILES)


@contextmanager
def _fitting(folder: str | None) -> Iterator[None]:
    """Loading state that another model, tuner or optimiser wrote.

    Raises:
        CheckpointError: torch cannot put it into this one.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {folder!r} does not fit this run: {error}",
            "resume with the model, tuner and optimiser that wrote it, or start anew in another folder",
        ) from error


def _names(output: Path) -> str:
    return ", ".join(path.name for path in checkpoint.checkpoints(output)) or "none"
