"""One training run from its configuration: load, encode, train, save, measure, record."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from transformers import set_seed

from swift.core.config.run import RunConfig
from swift.core.console import is_main_process, say
from swift.core.protocols import Strategy
from swift.core.registry import strategies
from swift.core.train.arguments import training_arguments, training_device
from swift.core.train.check import check_held_out, check_names
from swift.core.train.checkpoint import step_of
from swift.core.train.describe import describe_data, resolved_values
from swift.core.train.exact_match import measure_exact_match
from swift.core.train.final import write_final
from swift.core.train.interrupt import Interrupt
from swift.core.train.metrics_file import MetricsFile
from swift.core.train.parts import Parts, load_parts
from swift.core.train.progress import ProgressDisplay
from swift.core.train.ranks import any_rank, from_first
from swift.core.train.record import RunRecord
from swift.core.train.result import TrainResult
from swift.core.train.trainer import Trainer
from swift.plugin.live import LiveParts
from swift.plugin.reload import Reloader


def train_in_process(run: RunConfig, resume_from: Path | None = None) -> TrainResult:
    """Run training in this process, which is the only rank or one of those a strategy launched.

    Args:
        resume_from: whole checkpoint to continue from; the caller has claimed the output folder.

    Raises:
        SwiftError: anything the user can mend; what was saved stays.
    """
    started = time.monotonic()
    output = Path(run.checkpoint.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    device = training_device(run)
    set_seed(run.loop.seed)
    check_names(run)
    check_held_out(run)
    live = LiveParts(run.plugins.fallback, functools.partial(any_rank, device=device))
    parts = load_parts(run, device, live)
    say(describe_data(parts.datasets.summary, run.data.max_length))
    record = RunRecord(run, parts.datasets.summary, resolved_values(run, device))
    record.write("running")
    trainer, interrupt = build_trainer(run, parts, device, resume_from)
    if run.plugins.reload:
        trainer.between_steps = Reloader(run.plugins, run.folder, live, from_first).at_step
    final: Path | None = None
    figures: dict[str, float] = {}
    status = "failed"
    try:
        with interrupt.listening():
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        if interrupt.exit_code is None:
            final, figures = conclude(run, parts, trainer, device)
        status = "finished" if interrupt.exit_code is None else "interrupted"
    finally:
        close_displays(trainer)
        parts.objective.close()
        seconds = time.monotonic() - started
        record.write(status, steps=trainer.state.global_step, figures=figures, seconds=seconds)
    return TrainResult(output, final, trainer.state.global_step, figures, seconds, interrupt.exit_code)


def build_trainer(
    run: RunConfig, parts: Parts, device: torch.device, resume_from: Path | None
) -> tuple[Trainer, Interrupt]:
    """The trainer with its reports; the interrupt listens only while training runs."""
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
        keep_checkpoints=run.checkpoint.save_total_limit,
        train_dataset=parts.datasets.train,
        eval_dataset=evaluation,
        processing_class=parts.processor,
        callbacks=[
            ProgressDisplay(run.loop.stage, run.logging.progress),
            MetricsFile(Path(run.checkpoint.output_dir), resumed_step),
            interrupt,
        ],
    )
    return trainer, interrupt


def close_displays(trainer: Trainer) -> None:
    """Give the terminal back, whatever ended the run."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, ProgressDisplay):
            callback.close()


def conclude(
    run: RunConfig, parts: Parts, trainer: Trainer, device: torch.device
) -> tuple[Path, dict[str, float]]:
    """Write the final weights and measure them."""
    final = write_final(trainer, Path(run.checkpoint.output_dir))
    figures = last_figures(trainer)
    if parts.datasets.evaluation is not None and "eval_loss" not in figures:
        figures.update(trainer.evaluate())
    if run.eval.exact_match and is_main_process():
        figures["exact_match"] = measure_exact_match(
            parts.model, parts.tokenizer, parts.datasets.eval_conversations, run
        )
    return final, figures


def last_figures(trainer: Trainer) -> dict[str, float]:
    """The last training report, and the evaluation of the last step if there was one."""
    figures: dict[str, float] = {}
    for entry in trainer.state.log_history:
        if "loss" in entry or entry.get("step") == trainer.state.global_step:
            figures |= {name: value for name, value in entry.items() if isinstance(value, int | float)}
    return figures
