"""LoRA+: B learns faster than A, embeddings slowly, whatever optimiser steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from swift.core.errors import ConfigError
from swift.core.train.trainer import Trainer
from swift.tuners.api import build_tuner

SETTINGS: dict[str, Any] = {"lora_rank": 2, "loraplus_lr_ratio": 8.0, "loraplus_lr_embedding": 1e-5}


def trainer(build: Any, tuner: Any, folder: Path, **options: Any) -> Trainer:
    arguments = TrainingArguments(
        str(folder), learning_rate=1e-3, weight_decay=0.1, use_cpu=True, report_to="none", optim="sgd"
    )
    objective: Any = _Nothing()
    return Trainer(tuner.apply(build()), objective, arguments, tuner=tuner, **options)


class _Nothing:
    """An objective that is never asked."""

    def state_dict(self) -> dict[str, Any]:
        return {}


def test_the_optimiser_gets_three_rates(build: Any, tmp_path: Path) -> None:
    targets = ["q_proj", "embed_tokens"]
    tuner = build_tuner("lora+", target_modules=targets, modules_to_save=["norm"], **SETTINGS)
    made = trainer(build, tuner, tmp_path)
    optimizer = made.create_optimizer()
    assert isinstance(optimizer, torch.optim.SGD)
    names = {id(value): name for name, value in made.model.named_parameters()}
    rates = {
        names[id(value)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for value in group["params"]
    }
    assert set(rates) == {name for name, value in made.model.named_parameters() if value.requires_grad}
    for name, rate in rates.items():
        if "lora_embedding" in name:
            assert rate == (1e-5, 0.1)
        elif "lora_B" in name:
            assert rate == (8e-3, 0.1)
        elif "lora_A" in name:
            assert rate == (1e-3, 0.1)
        else:
            assert rate == (1e-3, 0.0), "a vector does not decay"
    assert {name.split(".")[-2] for name in rates} == {"default", "lora_embedding_A", "lora_embedding_B"}


def test_every_variant_can_have_the_ratio_and_none_has_it_by_default(build: Any) -> None:
    assert build_tuner("dora").parameter_groups(build(), 1e-3, 0.0) is None
    tuner = build_tuner("pissa", lora_rank=2, loraplus_lr_ratio=4.0)
    groups = tuner.parameter_groups(tuner.apply(build()), 1e-3, 0.0)
    assert groups is not None
    assert {group["lr"] for group in groups} == {1e-3, 4e-3}


def test_an_optimiser_with_groups_of_its_own_is_refused(build: Any, tmp_path: Path) -> None:
    tuner = build_tuner("lora+", **SETTINGS)
    made = trainer(build, tuner, tmp_path, make_optimizer=lambda model: torch.optim.SGD(model.parameters()))
    with pytest.raises(ConfigError, match="groups of its own") as error:
        made.create_optimizer()
    assert "adamw_torch" in error.value.remedy
