"""The three training stages as ordinary configurations: everything here could stand in a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.quickstart.task import TaskFiles

Sections = dict[str, dict[str, Any]]
LORA = {"tuner_strategy": "lora", "lora_rank": 32, "lora_alpha": 64}


@dataclass(frozen=True)
class Steps:
    """Optimiser steps of each stage."""

    pt: int = 250
    sft: int = 300
    grpo: int = 60


@dataclass(frozen=True)
class Stage:
    """One stage: a name for the table, its run, and the model and adapter it leaves."""

    name: str
    title: str
    config: Sections
    model: Path
    adapter: Path | None


def stages(output: Path, files: TaskFiles, steps: Steps, seed: int) -> list[Stage]:
    """Pre-training from scratch, LoRA fine-tuning on it, then GRPO on the adapter."""
    base = output / "pt" / "final"
    sft = output / "sft" / "final"
    grpo = output / "grpo" / "final"
    return [
        Stage("pt", "pre-train from scratch", _pretrain(output, files, steps.pt, seed), base, None),
        Stage("sft", "LoRA fine-tuning", _finetune(output, files, steps.sft, seed, base), base, sft),
        Stage("grpo", "GRPO on exact match", _align(output, files, steps.grpo, seed, base, sft), base, grpo),
    ]


def _pretrain(output: Path, files: TaskFiles, steps: int, seed: int) -> Sections:
    return {
        "model": {"model_id": "tiny/qwen3"},
        "data": {
            "dataset_name": str(files.pretrain),
            "max_length": 256,
            "packing": True,
            "truncation": "split",
        },
        "train": _train(output / "pt", "pt", steps, seed, 2e-3, per_device_train_batch_size=8),
    }


def _finetune(output: Path, files: TaskFiles, steps: int, seed: int, base: Path) -> Sections:
    rate = 2e-3
    return {
        "model": {"model_id": str(base)},
        "data": {"dataset_name": str(files.demonstrations), "max_length": 64},
        "train": _train(output / "sft", "sft", steps, seed, rate, per_device_train_batch_size=64, **LORA),
    }


def _align(output: Path, files: TaskFiles, steps: int, seed: int, base: Path, adapter: Path) -> Sections:
    settings = {
        "num_generations": 8,
        "max_completion_length": 8,
        "reward_funcs": ["exact_match"],
        "loss_type": "dapo",
        "beta": 0.0,
    }
    return {
        "model": {"model_id": str(base), "adapter": str(adapter)},
        "data": {"dataset_name": str(files.prompts), "max_length": 64},
        "train": _train(
            output / "grpo", "grpo", steps, seed, 1e-3, per_device_train_batch_size=16, **settings, **LORA
        ),
    }


def _train(output: Path, stage: str, steps: int, seed: int, rate: float, **more: Any) -> dict[str, Any]:
    return {
        "stage": stage,
        "output_dir": str(output),
        "max_steps": steps,
        "seed": seed,
        "learning_rate": rate,
        "adam_beta2": 0.99,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
        "warmup_steps": min(30, max(1, steps // 10)),
        "logging_steps": max(1, steps // 50),
        **more,
    }


def measuring(stage: Stage, files: TaskFiles, samples: int) -> Mapping[str, Mapping[str, Any]]:
    """The run that measures what a stage left: the same held-out rows and objective for all of them."""
    train: dict[str, Any] = {"stage": "sft"}
    model: dict[str, Any] = {"model_id": str(stage.model)}
    if stage.adapter is not None:
        train |= LORA
        model["adapter"] = str(stage.adapter)
    return {
        "model": model,
        "data": {"val_dataset_name": str(files.held_out), "max_length": 64},
        "train": {**train, "per_device_eval_batch_size": 64},
        "eval": {"metrics": "exact_match", "max_new_tokens": 8, "num_samples": samples},
    }
