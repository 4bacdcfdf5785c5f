"""A model in training written as plain weights computes the same, and is left as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from swift.core.errors import ModelError
from swift.core.models.plain import plain_weights, save_plain
from swift.tuners import apply_tuner

IDS = torch.arange(20, 50)[None]


def moved(folder: Path, method: str) -> Any:
    """A model whose trainable weights are not what they started as."""
    model = apply_tuner(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), method)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in filter(lambda each: each.requires_grad, model.parameters()):
            weight.add_(torch.randn_like(weight) * 0.02)
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        values: torch.Tensor = model(IDS).logits
    return values


@pytest.mark.parametrize(
    "method", ["full", "lora", "dora", "pissa", "adalora", "ia3", "oft", "vera", "longlora", "llamapro"]
)
def test_a_folder_of_plain_weights_computes_the_same(
    method: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    model = moved(tiny_model_dir, method)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_plain(model, AutoTokenizer.from_pretrained(tiny_model_dir), tmp_path)
    written = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.allclose(logits(written), logits(model), atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_base_alone(tiny_model_dir: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    wanted = {name: value.clone() for name, value in base.named_parameters()}
    weights = plain_weights(moved(tiny_model_dir, "lora"), adapted=False)
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in weights.items())


@pytest.mark.parametrize("method", ["adapter", "reft", "prompt", "prefix"])
def test_what_is_no_change_of_weights_is_refused(method: str, tiny_model_dir: Path) -> None:
    with pytest.raises(ModelError, match="cannot be written as weights"):
        plain_weights(moved(tiny_model_dir, method))
