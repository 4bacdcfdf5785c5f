"""A run's configuration as transformers.TrainingArguments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainingArguments

from swift.core.config.run import RunConfig
from swift.core.errors import ConfigError
from swift.core.registry import objectives, optimizers, schedulers, tuners

NEVER = 10**9  # steps
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def training_device(run: RunConfig) -> torch.device:
    """Where this process trains.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    available = torch.cuda.is_available()
    wanted = run.device.device
    if wanted == "cuda" and not available:
        raise ConfigError("device.device is 'cuda', but torch sees no GPU", "set device.device=cpu or auto")
    if not available or wanted == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # each rank loads onto its own GPU


def compute_dtype(run: RunConfig, device: torch.device) -> torch.dtype:
    """Precision of the arithmetic.

    Raises:
        ConfigError: float16 without a GPU, whose gradients would overflow unscaled.
    """
    if run.loop.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    if run.loop.dtype == "float16" and device.type == "cpu":
        raise ConfigError("train.dtype is 'float16', which does not train on CPU", "use float32 or bfloat16")
    return DTYPES[run.loop.dtype]


def weight_dtype(run: RunConfig, compute: torch.dtype) -> torch.dtype:
    """Precision the base weights are kept in: float32 where they train, else that of the arithmetic.

    An update of relative size below 2^-8 is lost in a bfloat16 weight, so weights that train are kept whole.
    """
    return torch.float32 if trains_all_weights(run) else compute


def trains_all_weights(run: RunConfig) -> bool:
    """Whether weights of the base itself are optimised; a tuner says so by its attribute adapter."""
    name = run.loop.tuner_strategy
    return name is None or not dict(tuners.get(name).attributes).get("adapter", True)


def learning_rate(run: RunConfig) -> float:
    """The configured peak learning rate, or the default of the stage and tuner."""
    if isinstance(own := run.optim.optim_config.get("lr"), int | float):  # of a registered optimiser
        return float(own)
    if run.optim.learning_rate is not None:
        return run.optim.learning_rate
    attributes = dict(objectives.get(run.objective_name).attributes)
    default = 1e-5 if trains_all_weights(run) else 1e-4
    return float(attributes.get("learning_rate", default))


def training_arguments(
    run: RunConfig, device: torch.device, strategy_options: Mapping[str, Any], has_evaluation: bool
) -> TrainingArguments:
    """Translate; anything transformers would do on its own that we do ourselves is switched off."""
    loop, optim = run.loop, run.optim
    compute = compute_dtype(run, device)
    options: dict[str, Any] = {
        "output_dir": run.checkpoint.output_dir,
        "per_device_train_batch_size": loop.per_device_train_batch_size,
        "per_device_eval_batch_size": loop.per_device_eval_batch_size,
        "gradient_accumulation_steps": loop.gradient_accumulation_steps,
        "num_train_epochs": loop.num_train_epochs,
        "max_steps": loop.max_steps,
        "max_grad_norm": optim.max_grad_norm,
        "optim": "adamw_torch" if optim.optim in optimizers else optim.optim,
        "learning_rate": learning_rate(run),
        "weight_decay": optim.weight_decay,
        "adam_beta1": optim.adam_beta1,
        "adam_beta2": optim.adam_beta2,
        "adam_epsilon": optim.adam_epsilon,
        "lr_scheduler_type": "constant" if optim.lr_scheduler_type in schedulers else optim.lr_scheduler_type,
        "lr_scheduler_kwargs": optim.lr_scheduler_kwargs or None,
        "warmup_steps": optim.warmup_steps,
        "seed": loop.seed,
        "train_sampling_strategy": "group_by_length" if run.data.group_by_length else "random",
        "bf16": compute == torch.bfloat16,
        "fp16": compute == torch.float16,
        "use_cpu": device.type == "cpu",
        "dataloader_pin_memory": device.type == "cuda",
        "dataloader_num_workers": loop.dataloader_num_workers,
        "neftune_noise_alpha": loop.neftune_noise_alpha,
        "gradient_checkpointing": loop.gradient_checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if loop.gradient_checkpointing else None,
        "logging_strategy": "steps",
        "logging_steps": run.logging.logging_steps,
        "logging_nan_inf_filter": False,  # a loss that is not finite must be seen
        "report_to": run.logging.report_to or "none",
        "run_name": run.logging.run_name,
        "eval_strategy": "steps" if has_evaluation else "no",  # the last step is always evaluated
        "eval_steps": (loop.eval_steps or NEVER) if has_evaluation else None,
        "save_strategy": "steps",  # the last step is always saved
        "save_steps": run.checkpoint.save_steps or NEVER,
        "save_total_limit": None,  # checkpoint.rotate() deletes, after the new one is safe
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }
    arguments = TrainingArguments(**{**options, **strategy_options})
    # Registered ones pass by these arguments; reports are to show their names all the same.
    if optim.optim in optimizers:
        arguments.optim = optim.optim
    if optim.lr_scheduler_type in schedulers:
        arguments.lr_scheduler_type = optim.lr_scheduler_type
    return arguments
