"""LoRA beside weights kept in few bits: what trains, what is lost, what can be merged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from swift.core.errors import ModelError
from swift.tuners import (
    apply_tuner,
    load_tuner,
    merge_adapters,
    merge_tuner,
    save_tuner,
    trainable_share,
)
from swift.tuners.api import build_tuner
from swift.tuners.dequantize import dequantised, is_quantised_layer
from swift.tuners.lora.loftq import quantised_split

pytest.importorskip("bitsandbytes")
Compute = Callable[[nn.Module], torch.Tensor]


@pytest.fixture
def quantised(build: Any, tmp_path: Path) -> Callable[..., Any]:
    """A base loaded in few bits from a folder, and its tuner."""
    import transformers

    def load(name: str = "qlora", **settings: Any) -> tuple[Any, Any]:
        folder = tmp_path / "base"
        if not folder.exists():
            build().save_pretrained(folder)
        tuner: Any = build_tuner(name, lora_rank=4, **settings)
        options = {"device_map": {"": "cpu"}, **tuner.load_options()}
        return tuner, transformers.AutoModelForCausalLM.from_pretrained(folder, **options)

    return load


@pytest.mark.parametrize(
    "settings",
    [{}, {"quantization_bit": 8}, {"use_dora": True}, {"use_rslora": True}],
    ids=["4 bits", "8 bits", "with dora", "rank-stabilised"],
)
def test_only_lora_trains_and_merging_adds_to_the_dequantised_weights(
    settings: dict[str, Any], quantised: Any, build: Any, train: Any, logits: Compute, tmp_path: Path
) -> None:
    tuner, base = quantised(**settings)
    adapted = tuner.apply(base)
    layers = [module for module in adapted.modules() if is_quantised_layer(module)]
    assert len(layers) == 14
    kept = [layer.weight.data.clone() for layer in layers]
    losses = train(adapted, 10)
    assert losses[-1] < losses[0] - 0.1
    assert all("lora_" in key for key, value in adapted.named_parameters() if value.requires_grad)
    assert all(torch.equal(layer.weight.data, one) for layer, one in zip(layers, kept, strict=True))
    assert trainable_share(adapted).total > sum(value.numel() for value in build().parameters())

    expected = logits(adapted)
    for act in (merge_tuner, merge_adapters):
        with pytest.raises(ModelError, match="without rounding the sum"):
            act(adapted)
    assert torch.equal(logits(adapted), expected), "a refused merge changes nothing"
    save_tuner(adapted, tmp_path / "adapter")
    # The same adapter on the dequantised base, computed by peft, is what merging has to give.
    _, plain = quantised(**settings)
    beside = load_tuner(dequantised(plain), tmp_path / "adapter")
    merged: Any = merge_tuner(adapted, dequantize=True)
    assert torch.allclose(logits(merged), logits(beside), atol=1e-5)
    assert torch.allclose(logits(merged), expected, atol=0.05 if settings.get("quantization_bit") else 1e-5)
    merged.save_pretrained(tmp_path / "merged")
    again = type(merged).from_pretrained(tmp_path / "merged")
    assert torch.equal(logits(again), logits(merged)), "a plain model, without a trace of bitsandbytes"


def test_evaluation_between_steps_leaves_the_base_as_it_was(quantised: Any, logits: Compute) -> None:
    tuner, base = quantised()
    adapted = tuner.apply(base)
    layer = next(module for module in adapted.modules() if is_quantised_layer(module))
    before, scales = layer.weight.data.clone(), layer.weight.quant_state.absmax.clone()
    logits(adapted)
    assert torch.equal(layer.weight.data, before)
    assert torch.equal(layer.weight.quant_state.absmax, scales)


def test_a_start_from_exact_weights_is_refused_on_quantised_ones(quantised: Any) -> None:
    for name in ("pissa", "olora", "loftq"):
        _, base = quantised()
        with pytest.raises(ModelError, match="is quantised, and the start is computed from exact weights"):
            apply_tuner(base, name, lora_rank=4)


@pytest.mark.parametrize("bits", [4, 8])
def test_loftq_starts_at_what_quantisation_loses(bits: int) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 96)
    weight = layer.weight.detach()
    lost = []
    for rounds in (1, 3):
        split = quantised_split(layer, 8, bits, rounds)
        plain: Any = dequantised(nn.Sequential(split.layer))[0]  # type: ignore[index]
        lost.append((weight - plain.weight - split.left @ split.right).norm().item())
        alone = (weight - plain.weight).norm().item()
        assert lost[-1] < 0.9 * alone
        assert plain.bias is layer.bias or torch.equal(plain.bias, layer.bias)
    if bits == 4:
        assert lost[1] < lost[0]


@pytest.mark.parametrize("settings", [{}, {"loftq_iter": 2}, {"loftq_bits": 8}])
def test_loftq_trains_and_its_adapter_fits_the_original_base(
    settings: dict[str, Any], build: Any, train: Any, logits: Compute, tmp_path: Path
) -> None:
    tuner: Any = build_tuner("loftq", lora_rank=8, **settings)
    original = build()
    exact = logits(original)
    adapted = tuner.apply(build())
    start = logits(adapted)
    losses = train(adapted)
    assert losses[-1] < losses[0] - 0.1
    expected = logits(adapted)
    tuner.save(adapted, tmp_path)
    loaded = load_tuner(copy.deepcopy(original), tmp_path)
    # What is still lost of the weights at the start is what the two differ by, no more.
    assert (logits(loaded) - expected).abs().mean() < 2 * (start - exact).abs().mean() + 1e-3
    assert (logits(loaded) - exact).abs().mean() > 5 * (logits(loaded) - expected).abs().mean()
    resumed = tuner.apply(build())
    tuner.restore(resumed, tmp_path)
    assert torch.equal(logits(resumed), expected)
    assert train(resumed, 2) == train(adapted, 2)


def test_loftq_changes_no_base_that_others_use(build: Any) -> None:
    model = apply_tuner(build(), "lora", lora_rank=2)
    with pytest.raises(ModelError, match="loftq changes the base"):
        apply_tuner(model, "loftq", adapter_name="second", lora_rank=2)
    with pytest.raises(ModelError, match="is of type Embedding"):
        apply_tuner(build(), "loftq", target_modules=["embed_tokens"])


def test_loftq_without_bitsandbytes_says_what_to_install(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="loftq needs bitsandbytes"):
        apply_tuner(build(), "loftq")
