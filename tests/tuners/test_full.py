"""Full fine-tuning: everything moves, and a whole model is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from swift.core.errors import ModelError
from swift.tuners import apply_tuner, load_tuner, merge_tuner
from swift.tuners.full.tuner import FullTuner


def tiny(hidden_size: int = 32, tie: bool = True) -> nn.Module:
    config = transformers.Qwen3MoeConfig(
        vocab_size=64, hidden_size=hidden_size, intermediate_size=64, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, moe_intermediate_size=16, num_experts=4,
        num_experts_per_tok=2, tie_word_embeddings=tie,
    )  # fmt: skip
    model: nn.Module = transformers.AutoModelForCausalLM.from_config(config)
    return model.eval()


def test_every_parameter_becomes_trainable() -> None:
    model = tiny().requires_grad_(False)
    assert apply_tuner(model, "full") is model
    assert all(value.requires_grad for value in model.parameters())
    assert merge_tuner(model) is model


@pytest.mark.parametrize("tie", [True, False])
def test_saved_weights_give_equal_logits(tie: bool, tmp_path: Path) -> None:
    tokens = torch.arange(12).reshape(1, 12)
    torch.manual_seed(1)
    trained = tiny(tie=tie)
    FullTuner().save(trained, tmp_path)
    torch.manual_seed(2)
    fresh = tiny(tie=tie)
    with torch.no_grad():
        expected = trained(input_ids=tokens).logits
        assert not torch.allclose(fresh(input_ids=tokens).logits, expected)
        loaded = load_tuner(fresh, tmp_path)
        assert torch.equal(loaded(input_ids=tokens).logits, expected)
    assert not any(value.requires_grad for value in loaded.parameters())


def test_a_plain_module_is_saved_and_loaded(tmp_path: Path) -> None:
    trained, fresh = nn.Linear(3, 2), nn.Linear(3, 2)
    FullTuner().save(trained, tmp_path / "new")
    loaded = load_tuner(fresh, tmp_path / "new", trainable=True)
    assert loaded is fresh
    assert torch.equal(fresh.weight, trained.weight)
    assert fresh.weight.requires_grad


def test_weights_of_another_architecture_are_listed(tmp_path: Path) -> None:
    FullTuner().save(tiny(), tmp_path)
    other = tiny(hidden_size=40)
    with pytest.raises(ModelError, match=r"model has \(64, 40\), file has \(64, 32\)"):
        load_tuner(other, tmp_path)


def test_no_weights_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model can be loaded"):
        load_tuner(tiny(), tmp_path)


def test_quantised_weights_are_refused() -> None:
    model = nn.Linear(2, 2)
    model.weight = nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match=r"'weight' the first.*\n.*qlora"):
        apply_tuner(model, "full")
