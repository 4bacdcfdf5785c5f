"""One training run from its configuration: load, encode, train, save, measure, record."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import TrainerCallback, set_seed

from swift.core.config.run import RunConfig
from swift.core.console import is_main_process, say
from swift.core.metrics.check import check_metrics
from swift.core.models.fused_head import fused_head
from swift.core.protocols import Strategy
from swift.core.registry import optimizers, schedulers, strategies
from swift.core.train.answers import measure_answers
from swift.core.train.arguments import learning_rate, training_arguments, training_device
from swift.core.train.callbacks.together import benchmark_callbacks, build_callbacks
from swift.core.train.check import check_held_out, check_names, check_packing, check_task
from swift.core.train.checkpoint import step_of
from swift.core.train.describe import describe_data, resolved_values
from swift.core.train.final import write_final
from swift.core.train.interrupt import Interrupt
from swift.core.train.live import watch
from swift.core.train.metrics_file import MetricsFile
from swift.core.train.optimizer import build_optimizer, transformers_optimizer
from swift.core.train.parts import Parts, load_parts
from swift.core.train.progress import ProgressDisplay
from swift.core.train.qat import check_qat
from swift.core.train.ranks import any_rank, from_first
from swift.core.train.record import RunRecord
from swift.core.train.reporting import reporting, reporting_callbacks
from swift.core.train.result import TrainResult
from swift.core.train.schedule import build_schedule
from swift.core.train.trainer import Trainer
from swift.core.train.tuning import tuner_callbacks
from swift.core.types import GENERATIVE_TASKS
from swift.plugin.live import LiveParts
from swift.plugin.load import rest_sandboxes
from swift.plugin.reload import Reloader


def train_in_process(run: RunConfig, resume_from: Path | None = None) -> TrainResult:
    """Run training in this process, which is the only rank or one of those a strategy launched.

    Args:
        resume_from: whole checkpoint to continue from; the caller has claimed the output folder.

    Raises:
        SwiftError: anything the user can mend; what was saved stays.
    """
    with reporting(run):
        return _train(run, resume_from)


def _train(run: RunConfig, resume_from: Path | None) -> TrainResult:
    started = time.monotonic()
    output = Path(run.checkpoint.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    device = training_device(run)
    set_seed(run.loop.seed)
    check_names(run)
    check_task(run)
    check_packing(run)
    check_qat(run)
    check_held_out(run)
    check_metrics(run)
    callbacks = build_callbacks(run.loop.callbacks)
    measuring = benchmark_callbacks(run)
    live = LiveParts(run.plugins.fallback, functools.partial(any_rank, device=device))
    parts = load_parts(run, device, live)
    say(describe_data(parts.datasets.summary, run.data.max_length))
    resolved = {**resolved_values(run, device), "fused_head": fused_head(parts.model) is not None}
    record = RunRecord(run, parts.datasets.summary, resolved)
    record.write("running")
    trainer, interrupt = build_trainer(run, parts, device, resume_from, [*callbacks, *measuring])
    if run.plugins.reload:
        watch(live, trainer, run.optim, learning_rate(run), run.loop.callbacks, callbacks)
        trainer.between_steps = Reloader(run.plugins, run.folder, live, from_first).at_step
    final: Path | None = None
    figures: dict[str, float] = {}
    status = "failed"
    try:
        with interrupt.listening():
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        stopped = trainer.interrupted if interrupt.exit_code is None else interrupt.exit_code
        if stopped is None:
            final, figures = conclude(run, parts, trainer, device)
        status = "finished" if stopped is None else "interrupted"
    finally:
        close_displays(trainer)
        parts.objective.close()
        rest_sandboxes()
        seconds = time.monotonic() - started
        record.write(status, steps=trainer.state.global_step, figures=figures, seconds=seconds)
    generates = parts.objective.task in GENERATIVE_TASKS
    return TrainResult(output, final, trainer.state.global_step, figures, seconds, stopped, generates)


def build_trainer(
    run: RunConfig,
    parts: Parts,
    device: torch.device,
    resume_from: Path | None,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[Trainer, Interrupt]:
    """The trainer with its reports; the interrupt listens only while training runs.

    Args:
        callbacks: those of train.callbacks, and what measures benchmarks.
    """
    options: Mapping[str, Any] = {}
    if run.device.parallel_method is not None:
        strategy = cast("Strategy", strategies.build(run.device.parallel_method, run.strategy, run.device))
        options = strategy.training_arguments()
    evaluation = parts.datasets.evaluation
    interrupt = Interrupt()
    resumed_step = step_of(resume_from) if resume_from else 0
    trainer = Trainer(
        parts.model,
        parts.objective,
        training_arguments(run, device, options, evaluation is not None),
        tuner=parts.tuner,
        metrics=parts.metrics,
        keep_checkpoints=run.checkpoint.save_total_limit,
        **optimisation(run),
        train_dataset=parts.datasets.train,
        eval_dataset=evaluation,
        processing_class=parts.processor,
        callbacks=[
            ProgressDisplay(run.loop.stage, run.logging.progress),
            MetricsFile(Path(run.checkpoint.output_dir), resumed_step),
            interrupt,
            *reporting_callbacks(run),
            *tuner_callbacks(parts.tuner),
            *callbacks,
        ],
    )
    return trainer, interrupt


def optimisation(run: RunConfig) -> dict[str, Any]:
    """What the trainer takes where the training arguments cannot name optimiser or schedule."""
    rate = learning_rate(run)
    options: dict[str, Any] = {}
    if run.optim.optim in optimizers:
        chosen = optimizers.get(run.optim.optim)
        options["make_optimizer"] = lambda model: build_optimizer(chosen, model, run.optim, rate)
    elif run.optim.optim_config:
        options["optimizer_cls_and_kwargs"] = transformers_optimizer(run.optim, rate)
    if run.optim.lr_scheduler_type in schedulers:
        schedule = schedulers.get(run.optim.lr_scheduler_type)
        options["make_schedule"] = lambda optimizer, total, warmup: build_schedule(
            schedule, optimizer, total, warmup, run.optim.lr_scheduler_kwargs
        )
    return options


def close_displays(trainer: Trainer) -> None:
    """Give the terminal back, whatever ended the run."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, ProgressDisplay):
            callback.close()


def conclude(
    run: RunConfig, parts: Parts, trainer: Trainer, device: torch.device
) -> tuple[Path, dict[str, float]]:
    """Write the final weights and measure them."""
    step = trainer.load_final()
    with trainer.presented():
        final = write_final(trainer, Path(run.checkpoint.output_dir), step)
        figures = last_figures(trainer, step)
        if parts.datasets.evaluation is not None and "eval_loss" not in figures:
            figures.update(trainer.evaluate())
        if parts.metrics.of_texts and is_main_process():
            answered = measure_answers(parts.model, parts.tokenizer, parts.datasets, parts.metrics, run)
            trainer.log(dict(answered))
            figures.update(answered)
    return final, figures


def last_figures(trainer: Trainer, step: int) -> dict[str, float]:
    """The last training report, and the evaluation of the step whose weights are final if there was one."""
    figures: dict[str, float] = {}
    for entry in trainer.state.log_history:
        if "loss" in entry or entry.get("step") == step:
            figures |= {name: value for name, value in entry.items() if isinstance(value, int | float)}
    return figures
