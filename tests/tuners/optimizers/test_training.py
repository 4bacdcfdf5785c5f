"""For every optimiser: the loss falls, its state is small, keeps its type and comes back."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from swift.core.errors import ConfigError
from swift.tuners import apply_tuner
from swift.tuners.optimizers.by_parameter import state_bytes

Case = tuple[str, dict[str, Any]]
Build = Callable[..., Any]


@pytest.mark.parametrize("architecture", ["qwen3", "llama", "qwen3-moe"])
def test_the_loss_falls(architecture: str, case: Case, tiny: Build, make: Build, fit: Build) -> None:
    name, settings = case
    model = tiny(architecture)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = fit(model, make(model, name, **settings), steps=20)
    assert losses[-1] < losses[0] - 0.5
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_state_goes_on_to_the_bit(
    dtype: torch.dtype, case: Case, tiny: Build, make: Build, fit: Build
) -> None:
    name, settings = case
    model = tiny("qwen3-moe").to(dtype)
    optimizer = make(model, name, **settings)
    fit(model, optimizer, steps=5)
    buffer = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), buffer)
    fit(model, optimizer, steps=4, start=5)

    buffer.seek(0)
    weights, state = torch.load(buffer, weights_only=True)
    again = tiny("qwen3-moe").to(dtype)
    again.load_state_dict(weights)
    fresh = make(again, name, **settings)
    fresh.load_state_dict(state)
    fit(again, fresh, steps=4, start=5)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))
    if name != "muon":  # torch's own parts keep the type of the weights
        kinds = {
            value.dtype
            for state in fresh.state.values()
            for value in state.values()
            if torch.is_tensor(value)
        }
        assert kinds <= {torch.float32, torch.uint8}


SHARES = {  # of AdamW's state, over all parameters of the model below
    "galore": 0.22,
    "galore-randomized": 0.22,
    "galore-8bit": 0.13,
    "galore-adafactor": 0.05,
    "q-galore": 0.10,
    "apollo": 0.22,
    "apollo-mini": 0.06,
    "muon": 0.57,
    "adam-mini": 0.51,
    "schedule-free": 1.0,
}


@pytest.mark.parametrize("title", SHARES)
def test_state_takes_less_memory_than_that_of_adamw(
    title: str, cases: dict[str, Case], tiny: Build, make: Build, fit: Build
) -> None:
    sizes = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
    }
    name, settings = cases[title]
    if "rank" in settings:
        settings = {**settings, "rank": 16}

    def measured(build: Callable[[nn.Module], Any]) -> int:
        model = tiny("llama", **sizes)
        optimizer = build(model)
        fit(model, optimizer, steps=1)
        return state_bytes(optimizer)

    share = measured(lambda model: make(model, name, **settings)) / measured(
        lambda model: torch.optim.AdamW(model.parameters())
    )
    assert 0.7 * SHARES[title] < share <= SHARES[title]


@pytest.mark.parametrize("name", ["muon", "adam-mini", "schedule-free"])
def test_it_trains_adapters(name: str, tiny: Build, make: Build, fit: Build) -> None:
    model = apply_tuner(tiny("llama"), "lora", lora_rank=4)
    frozen = {
        key: value.detach().clone() for key, value in model.named_parameters() if not value.requires_grad
    }
    losses = fit(model, make(model, name, lr=2e-2), steps=20)
    assert losses[-1] < losses[0] - 0.2
    now = dict(model.named_parameters())
    assert frozen and all(torch.equal(value, now[key]) for key, value in frozen.items())


def test_low_rank_of_adapters(tiny: Build, make: Build, fit: Build) -> None:
    """Matrices of rank 4 leave no room for rank 128, and some for rank 2."""
    model = apply_tuner(tiny("llama"), "lora", lora_rank=4)
    with pytest.raises(ConfigError, match=r"rank 128 of galore is not below .*lora_.*\n.*rank <= 3"):
        make(model, "galore")
    losses = fit(model, make(model, "galore", lr=2e-2, rank=2, scale=1.0), steps=20)
    assert losses[-1] < losses[0] - 0.2


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("galore", {"rank": 0}, r"rank of galore is 0\n.*at least 1"),
    ("galore", {"rank": 32}, r"rank 32 of galore is not below the smaller dimension of .*32 x"),
    ("galore", {"rank": 4, "update_proj_gap": 0}, "update_proj_gap"),
    ("galore", {"rank": 4, "proj_type": "up"}, r"proj_type of galore is 'up'"),
    ("galore", {"rank": 4, "projection": "svf"}, "did you mean 'svd'"),
    ("galore", {"rank": 4, "base": "adam"}, "did you mean"),
    ("galore", {"rank": 4, "betas": [0.9]}, "two numbers"),
    ("galore", {"rank": 4, "target_modules": ["w_proj"]}, r"'w_proj' matches no matrix.*\n.*q_proj"),
    ("galore", {"rank": 20, "target_modules": ["q_proj", "k_proj"]}, r"k_proj' \(16 x 32\).*\n.*rank <= 15"),
    ("q-galore", {"rank": 4, "cos_threshold": 2}, "from 0 to 1"),
    ("q-galore", {"rank": 4, "gamma_proj": 0.5}, "at least 1"),
    ("apollo", {"rank": 4, "scale_type": "row"}, "scale_type"),
    ("apollo", {}, "rank 128 of apollo is not below"),
    ("muon", {"momentum": 1.0}, "momentum"),
    ("schedule-free", {"betas": [0, 0.9]}, r"above 0"),
]


@pytest.mark.parametrize(("name", "settings", "message"), WRONG)
def test_what_cannot_be_is_refused(
    name: str, settings: dict[str, Any], message: str, tiny: Build, make: Build
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(tiny("llama"), name, **settings)


def test_matrices_too_small_for_the_rank_are_said(
    tiny: Build, make: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    optimizer = make(tiny("llama"), "galore", rank=20)
    assert "plain Adam for 4 matrices too small for rank 20 (k_proj, v_proj)" in capsys.readouterr().err
    low = next(group for group in optimizer.param_groups if "rank" in group)
    assert {min(parameter.shape) for parameter in low["params"]} == {32}


def test_head_embeddings_and_norms_have_plain_adam(tiny: Build, make: Build) -> None:
    model = tiny("qwen3-moe")
    optimizer = make(model, "galore", rank=6)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    low = [names[id(each)] for group in optimizer.param_groups if "rank" in group for each in group["params"]]
    assert not any("embed" in name or "norm" in name or "lm_head" in name for name in low)
    assert {name.rpartition("mlp.")[2] for name in low if "experts" in name} == {
        "experts.gate_up_proj",
        "experts.down_proj",
    }
    assert sum("self_attn" in name for name in low) == 8
