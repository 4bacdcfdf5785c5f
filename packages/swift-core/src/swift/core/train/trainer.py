"""The one trainer. It runs any objective with any tuner on transformers.Trainer's loop.

transformers.Trainer brings the loop, optimisers, schedules, mixed precision, distributed wrapping and resume.
This class replaces five things: the loss is the objective's, means are exact over micro-batches and ranks,
global batches are the same for any number of ranks, checkpoints appear whole or not at all, and evaluation
weighs every token alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset
from transformers import PrinterCallback, TrainingArguments

from swift.core.data.sampler import GlobalBatchSampler
from swift.core.metrics.gathered import Gathered
from swift.core.metrics.use import Metrics
from swift.core.protocols import Objective, Tuner
from swift.core.train.evaluate import evaluate_loss, samples
from swift.core.train.metrics import MetricSums, peak_memory_bytes
from swift.core.train.optimizer import Make
from swift.core.train.ranks import from_all
from swift.core.train.saving import SavingTrainer
from swift.core.train.tuning import (
    group_conflict,
    initialize_tuner,
    tuner_groups,
    tuner_penalty,
    with_groups,
)
from swift.core.types import Batch, Encoded, Metric

FILLER = "filler"  # marks a batch that counts for nothing


class Trainer(SavingTrainer):
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
        self.metrics = metrics
        self.between_steps = between_steps
        self.metric_sums = MetricSums()
        self._micro_batches = 1  # of the present step
        super().__init__(
            objective,
            tuner=tuner,
            keep_checkpoints=keep_checkpoints,
            model=model,
            args=args,
            data_collator=self._collate,
            **kwargs,
        )
        self.loss_is_scaled_for_ga = True  # objectives divide by the count of the whole step
        self.pop_callback(PrinterCallback)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train to the end, or go on from a checkpoint.

        Raises:
            SwiftError: what went wrong, after what can be saved is saved.
        """
        if not resume_from_checkpoint:
            initialize_tuner(self, self.accelerator.unwrap_model(self.model))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The optimiser, with the tuner's groups of parameters if it has any.

        Raises:
            ConfigError: the optimiser makes groups of its own.
        """
        chosen = self.model if model is None else model
        groups = tuner_groups(self.tuner, chosen, self.args.learning_rate, self.args.weight_decay)
        if groups is not None and self.optimizer is None:
            if self._make_optimizer is not None:
                raise group_conflict(str(self.args.optim))
            given: Make | None = self.optimizer_cls_and_kwargs
            make = given or self.get_optimizer_cls_and_kwargs(self.args, chosen)
            self.optimizer_cls_and_kwargs: Make | None = with_groups(make, groups)
        return super().create_optimizer(model)

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
        self._micro_batches = len(batches)
        filled = [self.ready(batch) for batch in batches]
        ready = self.objective.prepare(self.model, filled, self.state.global_step)
        for mine, batch in zip(ready, batches, strict=True):
            mine[FILLER] = not batch
        counts = [torch.as_tensor(self.objective.count(mine)) for mine in ready if not mine[FILLER]]
        total = torch.stack(counts).sum().double() if counts else torch.zeros((), dtype=torch.float64)
        return ready, self.sum_over_ranks(total.to(device)).clamp(min=1.0)

    def ready(self, batch: Batch) -> Batch:
        """A collated batch on this rank's device.

        A rank without a share in the last global batch goes through the motions: all have to synchronise.
        """
        filled: Batch = self._prepare_inputs(batch or self._collate([self.train_dataset[0]]))
        return filled

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
            return self._with_penalty(output.loss * 0.0)
        self.metric_sums.add(output.metrics)
        self.throughput.add(inputs)
        scale: int = self.accelerator.num_processes
        return self._with_penalty(output.loss * scale)

    def _with_penalty(self, loss: Tensor) -> Tensor:
        """The loss and this micro-batch's part of what the tuner adds to each step; ranks add the same."""
        penalty = tuner_penalty(self.tuner, self.accelerator.unwrap_model(self.model))
        if penalty is None:
            return loss
        self.metric_sums.add({"penalty": Metric(penalty.detach())})
        return loss + penalty / self._micro_batches

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


class EpochLoader(DataLoader[Any]):
    """Tells its sampler which epoch begins; the training loop asks for this."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
