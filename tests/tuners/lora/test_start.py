"""Where the variants start, by their own definitions; and how that is written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from swift.core.errors import ModelError
from swift.tuners import apply_tuner, load_tuner, save_tuner
from swift.tuners.lora.activations import EvaTuner
from swift.tuners.lora.config import EvaConfig, LoraGaConfig
from swift.tuners.lora.gradient import gradient_start, mean_gradients
from swift.tuners.lora.start import saved_form

RANK = 4
SCALE = 16 / RANK


def factors(adapted: Any, tmp_path: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer -> A and B with their starts, as saved."""
    save_tuner(adapted, tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    return {
        key.removeprefix("base_model.model.").removesuffix(".lora_A.weight"): (
            saved[key],
            saved[key.replace("lora_A", "lora_B")],
        )
        for key in saved
        if "lora_A" in key
    }


def test_pissa_starts_at_the_principal_singular_vectors(build: Any, tmp_path: Path) -> None:
    model = build()
    weights = {key: value.clone() for key, value in model.named_parameters()}
    found = factors(apply_tuner(model, "pissa", lora_rank=RANK, pissa_niter=None), tmp_path)
    assert len(found) == 14
    for name, (a, b) in found.items():
        u, s, v = torch.linalg.svd(weights[f"{name}.weight"])
        principal = u[:, :RANK] @ s[:RANK].diag() @ v[:RANK]
        assert torch.allclose(SCALE * b[:, :RANK] @ a[:RANK], principal, atol=1e-5)
        assert torch.equal(a[RANK:], a[:RANK]) and torch.equal(b[:, RANK:], -b[:, :RANK])


def test_olora_starts_at_orthonormal_columns(build: Any, tmp_path: Path) -> None:
    model = build()
    weights = {key: value.clone() for key, value in model.named_parameters()}
    for name, (a, b) in factors(apply_tuner(model, "olora", lora_rank=RANK), tmp_path).items():
        start = b[:, :RANK]
        assert torch.allclose(start.T @ start, torch.eye(RANK), atol=1e-5)
        assert torch.allclose(start.T @ weights[f"{name}.weight"], a[:RANK], atol=1e-5)


def test_lora_ga_moves_first_where_full_fine_tuning_would(
    build: Any, apply: Any, tokens: torch.Tensor, tmp_path: Path
) -> None:
    batch = {"input_ids": tokens, "labels": tokens}
    model = build()
    weight = model.model.layers[0].mlp.up_proj.weight
    (gradient,) = mean_gradients(model, [weight], [batch, batch], lambda part, one: part(**one).loss)
    model(**batch).loss.backward()
    assert torch.allclose(gradient, weight.grad, atol=1e-7)

    _, adapted = apply(build(), "lora-ga", lora_rank=RANK)
    a, b = (part[:RANK] for part in _halves(factors(adapted, tmp_path)["model.layers.0.mlp.up_proj"]))
    u, _, v = torch.linalg.svd(gradient)
    size = gradient.shape[0] ** 0.25 / 4  # gamma 16
    assert torch.allclose((a @ v[:RANK].T).abs(), size * torch.eye(RANK), atol=2e-2)
    assert torch.allclose((b @ u[:, RANK : 2 * RANK]).abs(), size * torch.eye(RANK), atol=2e-2)


def _halves(pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return pair[0], pair[1].T


@pytest.mark.parametrize("direction", ["ArBr", "A2rBr", "ArB2r", "random"])
def test_directions_and_sizes_of_lora_ga(direction: Any) -> None:
    torch.manual_seed(0)
    gradient = torch.randn(24, 16)
    for scale, size in (("unit", 1.0), ("gd", 1 / SCALE), ("stable", 24**0.25 / 4)):
        config = LoraGaConfig(lora_ga_direction=direction, lora_ga_scale=scale)
        a, b = gradient_start(gradient, 4, config, SCALE)
        assert (a.shape, b.shape) == ((4, 16), (24, 4))
        assert torch.allclose(a @ a.T, size**2 * torch.eye(4), atol=1e-5)
        assert torch.allclose(b.T @ b, size**2 * torch.eye(4), atol=1e-5)


def test_eva_starts_at_the_inputs_principal_directions(
    build: Any, apply: Any, tokens: torch.Tensor, tmp_path: Path
) -> None:
    seen: list[torch.Tensor] = []
    model = build()
    layer = model.model.layers[1].mlp.down_proj
    handle = layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    model(input_ids=tokens)
    handle.remove()
    _, adapted = apply(model, "eva", lora_rank=RANK, eva_rho=1.0, eva_batches=2)
    a, b = factors(adapted, tmp_path)["model.layers.1.mlp.down_proj"]
    inputs = seen[0].flatten(0, 1)
    _, _, v = torch.linalg.svd(inputs - inputs.mean(dim=0))
    assert torch.allclose((a @ v[:RANK].T).abs(), torch.eye(RANK), atol=0.05)
    assert not b.any()


def test_eva_gives_rank_to_layers_that_vary(build: Any, apply: Any, tmp_path: Path) -> None:
    _, adapted = apply(build(), "eva", lora_rank=RANK, eva_rho=2.0)
    ranks = [len(a) for a, _ in factors(adapted, tmp_path).values()]
    assert len(set(ranks)) > 1 and max(ranks) <= 2 * RANK
    assert sum(ranks) <= RANK * 14
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["rank_pattern"]


def test_eva_without_rank_for_a_layer_is_loaded_again(
    build: Any, tokens: torch.Tensor, logits: Callable[[nn.Module], torch.Tensor], tmp_path: Path
) -> None:
    """Most directions of some layers explain less than those of others, so that those keep none."""
    model = build(num_hidden_layers=4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("layers.1.mlp.gate_proj.weight"):
                weight.normal_(std=5.0)  # its neurons, the inputs of down_proj, vary in few directions
    base = {key: value.clone() for key, value in model.state_dict().items()}
    batch = {"input_ids": tokens, "labels": tokens}
    adapted = apply_tuner(model, "eva", lora_rank=1, eva_rho=6.0, eva_batches=2, batches=[batch, batch])
    found = factors(adapted, tmp_path)
    assert 0 < 20 <= len(found) < 28, "peft shortens the names of so many targets"
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(value, std=0.1)
    save_tuner(adapted, tmp_path)
    again = build(num_hidden_layers=4)
    again.load_state_dict(base)
    assert torch.equal(logits(load_tuner(again, tmp_path)), logits(adapted))
    resumed: Any = apply_tuner(build(num_hidden_layers=4), "lora", lora_rank=1)
    resumed.get_base_model().load_state_dict(
        {_beside_lora(resumed, key): value for key, value in base.items()}, strict=False
    )
    assert EvaTuner(EvaConfig(lora_rank=1)).restore(resumed, tmp_path)
    assert torch.equal(logits(resumed), logits(adapted))


def _beside_lora(adapted: Any, key: str) -> str:
    layer, _, last = key.rpartition(".")
    module = adapted.get_base_model().get_submodule(layer)
    return f"{layer}.base_layer.{last}" if hasattr(module, "base_layer") else key


def test_eva_without_enough_tokens_says_so(build: Any, apply: Any) -> None:
    with pytest.raises(ModelError, match="no batch has 32 learned tokens"):
        apply(build(), "eva", lora_rank=16)


def test_the_saved_form_has_twice_the_rank_and_the_same_scale(build: Any, tmp_path: Path) -> None:
    settings: Any = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}}
    for rank_stabilised, factor in ((False, 2.0), (True, 2**0.5)):
        adapted: Any = apply_tuner(build(), "pissa", lora_rank=RANK, use_rslora=rank_stabilised, **settings)
        config, state = saved_form(adapted)
        assert (config.r, config.rank_pattern) == (8, {"q_proj": 4})
        assert config.lora_alpha == pytest.approx(16 * factor)
        assert config.alpha_pattern["v_proj"] == pytest.approx(32 * factor)
        assert (config.init_lora_weights, adapted.peft_config["default"].r) == (True, RANK)
        assert not any("parametrizations" in key for key in state)


def test_a_start_needs_linear_layers_with_exact_weights(build: Any, apply: Any) -> None:
    model = build()
    names = set(model.state_dict())
    with pytest.raises(ModelError, match=r"'model.embed_tokens' is of type Embedding"):
        apply_tuner(model, "pissa", target_modules=["q_proj", "embed_tokens"])
    assert set(model.state_dict()) == names
    with pytest.raises(ModelError, match=r"twice the lora_rank, 40 exceeds"):
        apply(build(), "lora-ga", lora_rank=20)


def test_half_precision_keeps_the_base(
    build: Any, logits: Callable[[nn.Module], torch.Tensor], tmp_path: Path
) -> None:
    model = build().bfloat16()
    weights = {key: value.clone() for key, value in model.named_parameters()}
    before = logits(model)
    adapted = apply_tuner(model, "pissa", lora_rank=RANK)
    assert torch.allclose(logits(adapted).float(), before.float(), atol=2e-2)
    assert {v.dtype for v in adapted.parameters() if v.requires_grad} == {torch.float32}
    base: Any = adapted
    after = {k.replace(".base_layer", ""): v for k, v in base.get_base_model().named_parameters()}
    assert all(torch.equal(after[key], value) for key, value in weights.items())


def test_batches_are_handed_over_in_python(build: Any, tokens: torch.Tensor) -> None:
    batch = {"input_ids": tokens, "labels": tokens}
    for name in ("lora-ga", "eva"):
        model = build()
        names = set(model.state_dict())
        with pytest.raises(ModelError, match="starts from training batches"):
            apply_tuner(model, name, lora_rank=RANK)
        assert set(model.state_dict()) == names
        adapted = apply_tuner(model, name, lora_rank=RANK, batches=[batch, batch])
        assert any("lora_A" in key for key, value in adapted.named_parameters() if value.requires_grad)
