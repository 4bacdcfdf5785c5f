"""One training run from its configuration: load, encode, train, save, measure, record."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers import set_seed

from swift.core.config.run import RunConfig
from swift.core.config.schema import ModelConfig
from swift.core.console import is_main_process, say
from swift.core.data.pipeline import Datasets, build_datasets
from swift.core.errors import ConfigError
from swift.core.models.attention import check_varlen
from swift.core.models.load import load_config, load_model, load_processor
from swift.core.protocols import Objective, Strategy, Tuner
from swift.core.registry import objectives, strategies, tuners
from swift.core.template.chat import ChatTemplate
from swift.core.template.families import media_family
from swift.core.train.arguments import (
    compute_dtype,
    learning_rate,
    trains_all_weights,
    training_arguments,
    training_device,
    weight_dtype,
)
from swift.core.train.context import ObjectiveContext
from swift.core.train.exact_match import measure_exact_match
from swift.core.train.final import write_final
from swift.core.train.interrupt import Interrupt
from swift.core.train.progress import ProgressDisplay
from swift.core.train.metrics_file import MetricsFile
from swift.core.train.record import RunRecord
from swift.core.train.trainer import Trainer

if TYPE_CHECKING:
    from swift.core.template.media import MediaFamily
    from swift.core.types import Task


@dataclass(frozen=True)
class TrainResult:
    """What a run ended with.

    Attributes:
        output_dir: folder of the run.
        final_dir: trained weights with tokenizer, or None when the run was stopped before its end.
        steps: optimiser steps taken, those before a resume included.
        figures: last training report and evaluation (eval_loss, exact_match, ...).
        seconds: wall time of this process.
        signal_status: 128 + signal number when a signal ended the run in order, else None.
    """

    output_dir: Path
    final_dir: Path | None
    steps: int
    figures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    signal_status: int | None = None


@dataclass(frozen=True)
class Parts:
    """What a run is composed of, loaded."""

    model: nn.Module
    processor: Any
    tokenizer: Any
    datasets: Datasets
    objective: Objective
    tuner: Tuner | None


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
    parts = load_parts(run, device)
    say(describe_data(parts.datasets.summary, run.data.max_length))
    record = RunRecord(run, parts.datasets.summary, resolved_values(run, device))
    record.write("running")
    trainer, interrupt = build_trainer(run, parts, device, resume_from)
    final, figures = None, {}
    status = "failed"
    try:
        with interrupt.listening():
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        if interrupt.exit_code is None:
            final, figures = conclude(run, parts, trainer, device)
        status = "finished" if interrupt.exit_code is None else "interrupted"
    finally:
        close_displays(trainer)
        seconds = time.monotonic() - started
        record.write(status, steps=trainer.state.global_step, figures=figures, seconds=seconds)
    return TrainResult(output, final, trainer.state.global_step, figures, seconds, interrupt.exit_code)


def resolved_values(run: RunConfig, device: torch.device) -> dict[str, Any]:
    """What defaults turned into, for the record."""
    return {
        "learning_rate": learning_rate(run),
        "dtype": str(compute_dtype(run, device)).removeprefix("torch."),
        "device": str(device),
        "attn_implementation": resolved_model(run).attn_implementation or "sdpa",
        "world_size": rank_and_world()[1],
    }


def describe_data(summary: Mapping[str, Any], max_length: int) -> str:
    """One line that says what became of the rows, above all of those that are not trained on."""
    train = summary.get("train")
    if train is None:
        return "data: streamed"
    parts = [f"data: {train['rows']:,} rows, {train['samples']:,} samples, {train['tokens']:,} tokens"]
    if "packs" in train:
        parts.append(f"{train['packs']:,} packs, {train['fill']:.1%} full")
    if train.get("dropped"):
        parts.append(f"{train['dropped']:,} dropped (longer than data.max_length={max_length}, or nothing in them is learned)")
    if train.get("truncated"):
        parts.append(f"{train['truncated']:,} truncated to data.max_length={max_length}")
    skipped = train["unencodable"] + sum(source["rows_skipped"] for source in summary["sources"])
    if skipped:
        parts.append(f"{skipped:,} unusable rows skipped")
    return "; ".join(parts)


def load_parts(run: RunConfig, device: torch.device) -> Parts:
    """Tokenizer and data first, since mistakes there are the commonest and the cheapest to find."""
    component = objectives.get(run.loop.stage)
    task = cast("Task", run.data.task_type or dict(component.attributes)["task"])
    model_config = resolved_model(run)
    processor = load_processor(model_config)
    tokenizer = getattr(processor, "tokenizer", processor)
    media = media_family(processor, load_config(model_config).model_type, run.data.max_pixels)
    template = ChatTemplate(
        tokenizer,
        max_length=run.data.max_length,
        truncation=run.data.truncation,
        loss_turns=run.data.loss_turns,
        task=task,
        media=media,
    )
    if run.data.streaming and run.loop.max_steps < 1:
        raise ConfigError("data.streaming reads without end, and train.max_steps is not set", "set train.max_steps")
    datasets = build_datasets(run.data, template, task, seed=run.loop.seed, folder=run.folder)
    tuner = build_tuner(run)
    model = prepare_model(run, model_config, tuner, device)
    context = objective_context(run, model_config, tokenizer, device, media)
    objective = component.load()(run.objective, context)
    return Parts(model, processor, tokenizer, datasets, objective, tuner)


def is_flat(run: RunConfig) -> bool:
    """Whether batches are laid out as one sequence with boundaries."""
    return run.data.packing or run.data.padding_free


def resolved_model(run: RunConfig) -> ModelConfig:
    """The model section with the attention that the batch layout needs."""
    if is_flat(run) and run.model.attn_implementation is None:
        return run.model.model_copy(update={"attn_implementation": "swift_varlen"})
    return run.model


def build_tuner(run: RunConfig) -> Tuner | None:
    """The chosen tuner, or None when every parameter trains as it is."""
    if run.loop.tuner_strategy is None:
        return None
    return cast("Tuner", tuners.build(run.loop.tuner_strategy, run.tuner))


def prepare_model(run: RunConfig, config: ModelConfig, tuner: Tuner | None, device: torch.device) -> nn.Module:
    """Load the base, then let the tuner decide what moves."""
    dtype = weight_dtype(run, compute_dtype(run, device))
    options = tuner.load_options() if tuner is not None else {}
    model: nn.Module = load_model(config, dtype=dtype, device=device, seed=run.loop.seed, options=options)
    if is_flat(run):
        check_varlen(model)
    if run.model.adapter is not None:
        if tuner is None or trains_all_weights(run):
            raise ConfigError(
                f"model.adapter is {run.model.adapter!r}, but no adapter is trained",
                "set train.tuner_strategy=lora, or merge the adapter first with `swift merge`",
            )
        return tuner.load(model, Path(run.model.adapter), trainable=True)
    return tuner.apply(model) if tuner is not None else model


def load_reference(run: RunConfig, config: ModelConfig, device: torch.device) -> Callable[[], nn.Module]:
    """How to get a frozen copy of the policy that the run started from (or of ref_model_id)."""

    def load() -> nn.Module:
        own = run.model.ref_model_id is None
        chosen = config if own else config.model_copy(update={"model_id": run.model.ref_model_id})
        model: nn.Module = load_model(
            chosen, dtype=compute_dtype(run, device), device=device, seed=run.loop.seed, options={}
        )
        tuner = build_tuner(run)
        if own and run.model.adapter is not None and tuner is not None:
            model = tuner.load(model, Path(run.model.adapter))
        return model.eval().requires_grad_(False)

    return load


def objective_context(
    run: RunConfig,
    config: ModelConfig,
    tokenizer: Any,
    device: torch.device,
    media: MediaFamily | None = None,
) -> ObjectiveContext:
    """The objective's view of the run."""
    rank, world_size = rank_and_world()
    return ObjectiveContext(
        tokenizer=tokenizer,
        model_config=config,
        load_reference=load_reference(run, config, device),
        engine_name=run.infer.engine,
        engine_config=run.engine,
        device=device,
        seed=run.loop.seed,
        rank=rank,
        world_size=world_size,
        per_device_batch_size=run.loop.per_device_train_batch_size,
        flat=is_flat(run),
        media=media,
    )


def rank_and_world() -> tuple[int, int]:
    """This process among the ranks, as launchers say it in the environment."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


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
    resumed_step = int(resume_from.name.rpartition("-")[2]) if resume_from else 0
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


def report_result(result: TrainResult) -> None:
    """The closing lines of a run: where everything is, and how to chat with it."""
    if result.final_dir is None:
        say(f"stopped after step {result.steps}; go on with train.resume=true (checkpoints in {result.output_dir})")
        return
    flag = "--adapter" if (result.final_dir / "adapter_config.json").exists() else "--model"
    say(f"{result.steps} steps in {result.seconds:.0f} s; metrics in {result.output_dir / 'metrics.jsonl'}")
    say(f"trained weights in {result.final_dir}; chat with them: swift infer {flag} {result.final_dir}")
