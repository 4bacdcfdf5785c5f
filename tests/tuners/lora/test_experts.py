"""Experts: their weights are one parameter of all of them, which target_parameters names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

from swift.core.errors import ModelError
from swift.tuners import apply_tuner, load_tuner, merge_adapters, merge_tuner, save_tuner, unmerge_adapters

EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def test_experts_train_beside_their_common_weights(
    build: Any, train: Any, logits: Callable[[nn.Module], torch.Tensor], tmp_path: Path
) -> None:
    model = build("qwen3-moe")
    original = copy.deepcopy(model)
    adapted = apply_tuner(model, "lora", lora_rank=2, target_modules=["q_proj"], target_parameters=EXPERTS)
    assert torch.equal(logits(adapted), logits(original))
    moving = {name: value for name, value in adapted.named_parameters() if value.requires_grad}
    expert = [value for name, value in moving.items() if ".experts." in name]
    assert len(expert) == 2 * 2 * 2
    assert all(4 * 2 in value.shape for value in expert), "rank 2 for each of 4 experts"
    losses = train(adapted)
    assert losses[-1] < losses[0] - 0.1
    assert all(value.abs().max() > 0 for value in expert)
    expected = logits(adapted)
    save_tuner(adapted, tmp_path)
    assert torch.equal(logits(load_tuner(copy.deepcopy(original), tmp_path)), expected)
    by_peft = peft.PeftModel.from_pretrained(copy.deepcopy(original), str(tmp_path))
    assert torch.equal(logits(by_peft), expected)
    merge_adapters(adapted)
    assert torch.allclose(logits(adapted), expected, atol=1e-5)
    unmerge_adapters(adapted)
    assert torch.allclose(logits(adapted), expected, atol=1e-5)
    merged = merge_tuner(adapted)
    assert set(merged.state_dict()) == set(original.state_dict())
    assert torch.allclose(logits(merged), expected, atol=1e-5)


def test_all_linear_says_that_it_leaves_experts_out(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    adapted = apply_tuner(build("qwen3-moe"), "lora", lora_rank=2)
    assert not any(".experts." in name for name, value in adapted.named_parameters() if value.requires_grad)
    said = capsys.readouterr()
    assert "target_parameters: [mlp.experts.gate_up_proj, mlp.experts.down_proj]" in said.out + said.err
    apply_tuner(build("llama"), "lora", lora_rank=2)
    assert capsys.readouterr() == ("", "")


def test_a_parameter_that_is_not_there_lists_the_experts(build: Any) -> None:
    with pytest.raises(ModelError, match=r"'experts\.up' matches no parameter") as error:
        apply_tuner(build("qwen3-moe"), "lora", target_parameters=["experts.up"])
    assert "mlp.experts.gate_up_proj, mlp.experts.down_proj" in error.value.remedy
