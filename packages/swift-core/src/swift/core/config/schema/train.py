"""train: loop, optimiser, checkpoints, reports. Units: tokens, steps, samples, seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt

from swift.core.config.base import Config
from swift.core.config.named import NamedParts, PartsOf
from swift.core.config.schema.types import Fraction, Names, NonNegative


def _not_zero(steps: int) -> int:
    if steps == 0:
        raise ValueError("neither -1 nor a number of steps")
    return steps


class LoopConfig(Config):
    """train: the loop."""

    stage: str = Field("sft", description="objective: pt, sft, dpo, grpo, ...")
    tuner_strategy: str | None = Field(
        None, description="which parameters train: full, lora, qlora, ...; default: all"
    )
    per_device_train_batch_size: PositiveInt = Field(
        8, description="samples (or packs) a step on each device"
    )
    per_device_eval_batch_size: PositiveInt = Field(
        8, description="samples an evaluation step on each device"
    )
    gradient_accumulation_steps: PositiveInt = Field(1, description="micro-batches an optimiser step")
    num_train_epochs: NonNegative = Field(1.0, description="passes over the data")
    max_steps: Annotated[int, AfterValidator(_not_zero)] = Field(
        -1, ge=-1, description="optimiser steps; -1: num_train_epochs decides"
    )
    eval_steps: PositiveInt | None = Field(
        None, description="evaluate every so many steps; default: at the end"
    )
    seed: int = Field(42, ge=0, description="seed of data order, initialisation, dropout and sampling")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="compute precision; auto: bfloat16 on a GPU that has it, float32 on CPU"
    )
    neftune_noise_alpha: float | None = Field(
        None,
        gt=0,
        description="noise on the input embeddings while training, uniform in +-alpha / sqrt(L d) for a "
        "sample of L tokens and embeddings of width d (NEFTune: 5 to 15); default: none",
    )
    fused_head: bool = Field(
        True,
        description="compute the cross-entropy in the output layer, without a tensor of all logits, where "
        "the model allows it; the same loss in less time and memory",
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass")
    qat: Literal["int2", "int3", "int4", "int8-int4", "int8-int8"] | None = Field(
        None,
        description="quantisation-aware training: compute with weights rounded to so many bits (and inputs "
        "to int8, where two are named), so that exporting them so loses little; default: off",
    )
    qat_group_size: PositiveInt | None = Field(
        128, description="weights of a row that share a scale in train.qat; null: the whole row"
    )
    dataloader_num_workers: int = Field(0, ge=0, description="processes that collate batches")
    callbacks: Annotated[NamedParts, PartsOf("callback")] = Field(
        default_factory=list, description="registered callbacks: a name, {name, config}, or a list of them"
    )


class OptimConfig(Config):
    """train: the optimiser and its schedule."""

    optim: str = Field(
        "adamw_torch", description="optimiser, by its transformers name or the name of a registered one"
    )
    optim_config: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of the optimiser: of a registered one, or further ones of transformers'",
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate; default: the stage's own (sft, pt: 1e-4 with an adapter, else 1e-5)",
    )
    weight_decay: NonNegative = Field(0.0, description="decoupled weight decay")
    adam_beta1: Fraction = Field(0.9, description="decay of the first moment")
    adam_beta2: Fraction = Field(0.999, description="decay of the second moment")
    adam_epsilon: NonNegative = Field(1e-8, description="added to the square root of the second moment")
    max_grad_norm: NonNegative = Field(1.0, description="clip the gradient's norm; 0: off")
    lr_scheduler_type: str = Field(
        "cosine", description="schedule, by its transformers name or the name of a registered one"
    )
    lr_scheduler_kwargs: dict[str, Any] = Field(default_factory=dict, description="arguments of the schedule")
    warmup_steps: NonNegative = Field(0.0, description="steps of linear warm-up; below 1: share of all steps")


class CheckpointConfig(Config):
    """train: what is kept."""

    output_dir: str = Field("output", description="folder of the run")
    save_steps: PositiveInt | None = Field(
        None, description="checkpoint every so many steps; default: at the end"
    )
    save_total_limit: PositiveInt | None = Field(2, description="keep so many checkpoints, the newest ones")
    resume: bool = Field(False, description="continue the run in output_dir from its last good checkpoint")
    resume_from_checkpoint: str | None = Field(None, description="continue from this checkpoint folder")
    overwrite_output_dir: bool = Field(False, description="delete the run that output_dir already holds")


class LoggingConfig(Config):
    """train: what is reported."""

    logging_steps: PositiveInt = Field(1, description="report every so many steps")
    report_to: Names = Field(
        default_factory=list,
        description="tensorboard, wandb, swanlab, mlflow, ...; console and metrics.jsonl always",
    )
    run_name: str | None = Field(
        None, description="the run's name where it is reported to; default: the place chooses one"
    )
    project: str | None = Field(
        None, description="project (wandb, swanlab) or experiment (mlflow) that the run is reported under"
    )
    progress: bool = Field(True, description="progress bar on a terminal")
