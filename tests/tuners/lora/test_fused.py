"""Fused LoRA layers: peft's in everything but the way they compute."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from torch import nn

from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_model
from swift.tuners.lora.config import DoraConfig, LoraConfig, QloraConfig
from swift.tuners.lora.fused import FusedLinear, fused_4bit, fusible
from swift.tuners.lora.tuner import DoraTuner, LoraTuner, QloraTuner

IDS = torch.arange(40, 72).view(2, 16)


def adapted(fused, config_class=LoraConfig, tuner_class=LoraTuner, dtype=torch.float32, **settings):
    """Tiny Qwen3 whose adapter is not zero."""
    config = config_class(lora_rank=4, fused_lora=fused, **settings)
    tuner = tuner_class(config)
    base = load_model(ModelConfig(), dtype=dtype, device="cpu", options=tuner.load_options())
    model = tuner.apply(base)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_" in name:
            parameter.data = (torch.randn(parameter.shape, generator=generator) * 0.05).to(parameter.dtype)
    return model.train(), tuner


def step(model):
    model.zero_grad()
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    grads = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return loss.item(), grads


def assert_equal_steps(ours, theirs, tolerance=1e-5):
    (loss, grads), (other_loss, other_grads) = step(ours), step(theirs)
    assert loss == pytest.approx(other_loss, abs=tolerance)
    assert grads.keys() == other_grads.keys()
    assert grads
    for name, grad in grads.items():
        assert (grad - other_grads[name]).norm() <= tolerance * other_grads[name].norm(), name


def layers(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


def test_a_step_equals_pefts():
    ours, theirs = adapted(True)[0], adapted(False)[0]
    assert layers(ours, FusedLinear)
    assert not layers(theirs, FusedLinear)
    assert all(fusible(layer) for layer in layers(ours, FusedLinear))
    assert_equal_steps(ours, theirs)


def test_with_gradient_checkpointing():
    ours, theirs = adapted(True)[0], adapted(False)[0]
    for model in (ours, theirs):
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    assert_equal_steps(ours, theirs)


def test_saved_loaded_and_merged_as_pefts(tmp_path):
    model, tuner = adapted(True)
    wanted = model.eval()(input_ids=IDS).logits
    tuner.save(model, tmp_path)
    base = load_model(ModelConfig(), dtype=torch.float32, device="cpu")
    loaded = peft.PeftModel.from_pretrained(base, tmp_path)
    assert not layers(loaded, FusedLinear)
    torch.testing.assert_close(loaded(input_ids=IDS).logits, wanted, rtol=1e-5, atol=1e-5)
    model.merge_adapter()
    torch.testing.assert_close(model(input_ids=IDS).logits, wanted, rtol=1e-4, atol=1e-5)
    model.unmerge_adapter()
    torch.testing.assert_close(model(input_ids=IDS).logits, wanted, rtol=1e-4, atol=1e-5)
    with model.disable_adapter():
        plain = load_model(ModelConfig(), dtype=torch.float32, device="cpu")
        torch.testing.assert_close(model(input_ids=IDS).logits, plain(input_ids=IDS).logits)


def test_dropout_drops():
    model, _ = adapted(True, lora_dropout=0.5)
    assert not any(fusible(layer) for layer in layers(model, FusedLinear))
    torch.manual_seed(0)
    first = model(input_ids=IDS).logits
    assert not torch.equal(first, model(input_ids=IDS).logits)
    model.eval()
    assert all(fusible(layer) for layer in layers(model, FusedLinear))


def test_variants_keep_their_own_forward_pass():
    ours, theirs = (adapted(fused, DoraConfig, DoraTuner)[0] for fused in (True, False))
    assert_equal_steps(ours, theirs)


def test_two_active_adapters_keep_pefts_forward_pass():
    model, _ = adapted(True)
    model.add_adapter("second", copy.deepcopy(model.peft_config["default"]))
    layer = layers(model, FusedLinear)[0]
    model.base_model.set_adapter(["default", "second"])
    assert fusible(layer) is None
    model.set_adapter("second")
    assert fusible(layer) == "second"


def test_hooks_on_the_frozen_layer_are_called():
    model, _ = adapted(True)
    called = []
    layers(model, FusedLinear)[0].get_base_layer().register_forward_hook(lambda *_: called.append(1))
    model(input_ids=IDS)
    assert called


def test_a_base_layer_quantised_afterwards():
    model, _ = adapted(True)
    layer = layers(model, FusedLinear)[0]

    class Halved(nn.Linear):
        def forward(self, x):
            return super().forward(x) / 2

    old = layer.base_layer
    x = torch.randn(3, old.in_features)
    update = layer(x) - old(x)
    layer.base_layer = Halved(old.in_features, old.out_features, bias=False).requires_grad_(False)
    layer.base_layer.weight = old.weight
    torch.testing.assert_close(layer(x), old(x) / 2 + update, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_beside_4_bits(dtype):
    pytest.importorskip("bitsandbytes")
    ours, theirs = (adapted(fused, QloraConfig, QloraTuner, dtype)[0] for fused in (True, False))
    assert layers(ours, fused_4bit())
    assert not layers(theirs, fused_4bit())
    assert_equal_steps(ours, theirs, 1e-5 if dtype == torch.float32 else 0.08)  # bfloat16: 8 bits
