"""What holds for every variant of LoRA: its start, what moves, what is saved, merged, put side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

from swift.core.errors import ConfigError, ModelError
from swift.tuners import (
    active_adapter,
    adapter_names,
    apply_tuner,
    load_tuner,
    merge_adapters,
    merge_tuner,
    switch_adapter,
    trainable_share,
    unmerge_adapters,
)

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rslora": ("rslora", {}),
    "lora+": ("lora+", {}),
    "dora": ("dora", {}),
    "orthogonal": ("lora", {"init_lora_weights": "orthogonal"}),
    "patterns": (
        "lora",
        {
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {"v_proj": 32},
            "exclude_modules": ["o_proj"],
            "layers_to_transform": [1],
        },
    ),
    "pissa": ("pissa", {}),
    "exact pissa, rank-stabilised": ("pissa", {"pissa_niter": None, "use_rslora": True}),
    "pissa with patterns": ("pissa", {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}}),
    "olora": ("olora", {}),
    "lora-ga": ("lora-ga", {}),
    "lora-ga, alternating, as gradient descent": (
        "lora-ga",
        {"lora_ga_direction": "ArBr", "lora_ga_scale": "gd"},
    ),
    "eva": ("eva", {"eva_rho": 1.5}),
}
Compute = Callable[[nn.Module], torch.Tensor]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_trains_and_its_adapter_fits_the_original_base(
    variant: str, build: Any, apply: Any, train: Any, logits: Compute, tmp_path: Path
) -> None:
    name, settings = VARIANTS[variant]
    model = build()
    original = copy.deepcopy(model)
    weights = {key: value.clone() for key, value in model.named_parameters()}
    tuner, adapted = apply(model, name, lora_rank=4, **settings)
    assert torch.allclose(logits(adapted), logits(original), atol=1e-5), "training starts at the base"
    losses = train(adapted)
    assert losses[-1] < losses[0] - 0.03
    after = {
        key.replace(".base_layer", ""): value for key, value in adapted.get_base_model().named_parameters()
    }
    assert all(torch.equal(after[key], value) for key, value in weights.items()), "the base is left alone"
    trained = [key for key, value in adapted.named_parameters() if value.requires_grad]
    assert trained and all("lora_" in key for key in trained)

    expected = logits(adapted)
    tuner.save(adapted, tmp_path)
    assert torch.equal(logits(load_tuner(copy.deepcopy(original), tmp_path)), expected)
    by_peft = peft.PeftModel.from_pretrained(copy.deepcopy(original), str(tmp_path))
    assert torch.equal(logits(by_peft), expected)

    resumed = tuner.apply(copy.deepcopy(original))
    assert tuner.restore(resumed, tmp_path)
    assert torch.equal(logits(resumed), expected)
    assert train(resumed, 2) == train(adapted, 2), "A, B and what they started from are back"


@pytest.mark.parametrize("variant", [key for key, (_, settings) in VARIANTS.items() if not settings])
def test_merging_is_undone_and_leaves_a_plain_model(
    variant: str, build: Any, apply: Any, train: Any, logits: Compute
) -> None:
    model = build("llama")
    kind, names = type(model), set(model.state_dict())
    _, adapted = apply(model, VARIANTS[variant][0], lora_rank=4)
    train(adapted)
    expected, before = logits(adapted), model.model.layers[0].mlp.up_proj.base_layer.weight.clone()
    merge_adapters(adapted)
    assert not torch.equal(model.model.layers[0].mlp.up_proj.base_layer.weight, before)
    assert torch.allclose(logits(adapted), expected, atol=1e-5)
    unmerge_adapters(adapted)
    assert torch.allclose(logits(adapted), expected, atol=1e-5)
    merged = merge_tuner(adapted)
    assert type(merged) is kind and set(merged.state_dict()) == names
    assert torch.allclose(logits(merged), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "pissa", "olora", "dora"])
def test_two_adapters_stand_side_by_side(
    name: str, build: Any, train: Any, logits: Compute, tmp_path: Path
) -> None:
    from swift.tuners import save_tuner

    alone = {}
    for adapter, steps in (("default", 3), ("second", 6)):
        model = apply_tuner(build(), name, lora_rank=4)
        train(model, steps)
        alone[adapter] = logits(model)

    model = apply_tuner(build(), name, lora_rank=4)
    train(model, 3)
    torch.manual_seed(0)
    build()  # as many random numbers as for the adapter alone
    model = apply_tuner(model, name, adapter_name="second", lora_rank=4)
    assert (adapter_names(model), active_adapter(model)) == (["default", "second"], "second")
    train(model, 6)
    assert torch.allclose(logits(model), alone["second"], atol=1e-5)
    save_tuner(model, tmp_path / "second")
    switch_adapter(model, "default")
    assert torch.allclose(logits(model), alone["default"], atol=1e-5)
    assert all("default" in key for key, value in model.named_parameters() if value.requires_grad), (
        "the one in use trains"
    )
    assert torch.allclose(logits(load_tuner(build(), tmp_path / "second")), alone["second"], atol=1e-5)
    merge_adapters(model)
    with pytest.raises(ModelError, match="'default' is merged"):
        switch_adapter(model, "second")


def test_names_of_adapters_are_checked(build: Any, tmp_path: Path) -> None:
    from swift.tuners import save_tuner

    model = apply_tuner(build(), "lora", lora_rank=2)
    save_tuner(model, tmp_path / "one")
    for act in (
        lambda: apply_tuner(model, "lora", lora_rank=2),
        lambda: load_tuner(model, tmp_path / "one"),
    ):
        with pytest.raises(ModelError, match="carries an adapter 'default' already"):
            act()
    with pytest.raises(ModelError, match=r"'a\.b' is no name"):
        apply_tuner(model, "lora", adapter_name="a.b")
    with pytest.raises(ModelError, match="no adapter 'other'") as error:
        switch_adapter(model, "other")
    assert "default" in error.value.remedy
    with pytest.raises(ModelError, match="adds no adapter"):
        apply_tuner(model, "full")
    load_tuner(model, tmp_path / "one", adapter_name="again")
    assert adapter_names(model) == ["default", "again"]
    plain = build()
    assert adapter_names(plain) == []
    with pytest.raises(ModelError, match="carries no adapter"):
        active_adapter(plain)


def test_an_adapter_that_cannot_go_on_leaves_the_model_as_it_was(build: Any, logits: Compute) -> None:
    model = build()
    names = set(model.state_dict())
    with pytest.raises(ModelError, match="cannot go on"):
        apply_tuner(model, "lora", target_modules=["q_proj", "input_layernorm"])
    assert set(model.state_dict()) == names
    adapted = apply_tuner(model, "lora", lora_rank=2)
    before, names = logits(adapted), set(adapted.state_dict())
    with pytest.raises(ModelError, match="cannot go on"):
        apply_tuner(adapted, "lora", adapter_name="b", target_modules=["q_proj", "input_layernorm"])
    assert (adapter_names(adapted), set(adapted.state_dict())) == (["default"], names)
    assert torch.equal(logits(adapted), before)


def test_the_share_that_trains_is_counted(build: Any) -> None:
    model = build()
    total = sum(value.numel() for value in model.parameters())
    assert trainable_share(model) == (total, total)
    adapted = apply_tuner(model, "lora", lora_rank=4, target_modules="q_proj")
    share = trainable_share(adapted)
    assert (share.trainable, share.total) == (2 * 2 * 4 * 64, total + 2 * 2 * 4 * 64)
    assert share.share == pytest.approx(share.trainable / share.total)


@pytest.mark.parametrize("setting", [{"use_dora": True}, {"lora_bias": True}, {"target_parameters": ["x"]}])
def test_settings_that_contradict_a_start_are_refused(build: Any, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="do not go with a start"):
        apply_tuner(build(), "pissa", **setting)
