"""Adapters of our own: placement, several on one model, folders, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from swift.core.errors import ModelError
from swift.tuners import apply_tuner, load_tuner, merge_tuner
from swift.tuners.api import save_tuner
from swift.tuners.own import adapter_names, carries_own, own_layers, remove, switch

TOKENS = torch.arange(24).reshape(2, 12)
SMALL = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
OTHERS: dict[str, tuple[Any, list[str]]] = {
    "gpt2": (transformers.GPT2Config(n_layer=1, n_embd=32, n_head=4, **SMALL), ["attn", "mlp"]),
    "opt": (
        transformers.OPTConfig(
            num_hidden_layers=1, hidden_size=32, ffn_dim=64, num_attention_heads=4, word_embed_proj_dim=32,
            **SMALL,
        ),
        ["self_attn", "fc2"],
    ),
    "gpt-neox": (
        transformers.GPTNeoXConfig(
            num_hidden_layers=1, hidden_size=32, intermediate_size=64, num_attention_heads=4, **SMALL
        ),
        ["attention", "mlp"],
    ),
}  # fmt: skip


def tiny(**sizes: Any) -> Any:
    torch.manual_seed(0)
    known = {"hidden_size": 32, "num_hidden_layers": 2, **sizes}
    config = transformers.Qwen3Config(
        **SMALL, **known, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        initializer_range=0.2,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def noisy(model: Any, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value += 0.2 * torch.randn(value.shape, generator=generator)
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=TOKENS, use_cache=False).logits
    return found


@pytest.mark.parametrize(("placement", "places"), [("both", 4), ("attention", 2), ("feed_forward", 2)])
def test_placement(placement: str, places: int) -> None:
    model = apply_tuner(tiny(), "adapter", adapter_placement=placement, adapter_size=4)
    names = [name.rpartition(".")[2] for name in own_layers(model)]
    assert len(names) == places
    assert (
        set(names)
        == {"both": {"self_attn", "mlp"}, "attention": {"self_attn"}, "feed_forward": {"mlp"}}[placement]
    )


@pytest.mark.parametrize("name", OTHERS)
def test_blocks_of_other_architectures_are_found(name: str) -> None:
    config, expected = OTHERS[name]
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    start = logits(model)
    apply_tuner(model, "adapter", adapter_size=4)
    assert [place.rpartition(".")[2] for place in own_layers(model)] == expected
    assert torch.equal(logits(model), start)
    assert not torch.allclose(logits(noisy(model, 1)), start, atol=1e-3)


def test_an_adapter_computes_its_formula() -> None:
    model = noisy(apply_tuner(tiny(), "adapter", adapter_size=4, adapter_activation="relu"), 1)
    layer = own_layers(model)["model.layers.0.mlp"]
    state = torch.randn(2, 3, 32)
    with torch.no_grad():
        plain = layer.base_layer(state)
        one: Any = layer.adapters["default"]
        inner = torch.relu(plain @ one.down.weight.T + one.down.bias)
        torch.testing.assert_close(layer(state), plain + inner @ one.up.weight.T + one.up.bias)


def test_two_methods_and_names_on_one_model() -> None:
    model = tiny()
    base = logits(model)
    first = logits(noisy(apply_tuner(model, "adapter", adapter_size=4), 1))
    second = logits(noisy(apply_tuner(model, "adapter", adapter_name="wide", adapter_size=8), 2))
    third = logits(noisy(apply_tuner(model, "reft", adapter_name="edit", reft_rank=4), 3))
    assert set(adapter_names(model)) == {
        "default", "wide", "edit",
    }  # fmt: skip
    for name, expected in (("default", first), ("wide", second), ("edit", third), (None, base)):
        switch(model, name)
        assert torch.equal(logits(model), expected)
    switch(model, "wide", trainable=True)
    assert all(".wide." in n for n, p in model.named_parameters() if p.requires_grad)
    remove(model, "edit")
    assert torch.equal(logits(model), second)
    remove(model)
    assert not carries_own(model)
    assert torch.equal(logits(model), base)
    assert set(model.state_dict()) == set(tiny().state_dict())


def test_adapters_of_ours_and_of_peft_do_not_mix(tmp_path: Path) -> None:
    lora = apply_tuner(tiny(), "lora", lora_rank=4)
    save_tuner(lora, tmp_path / "lora")
    with pytest.raises(ModelError, match="of another kind: default"):
        apply_tuner(lora, "reft", adapter_name="edit", reft_rank=4)
    assert not carries_own(lora)
    edited = apply_tuner(tiny(), "reft", reft_rank=4)
    with pytest.raises(ModelError, match="of another kind: default"):
        apply_tuner(edited, "lora", adapter_name="second")
    with pytest.raises(ModelError, match="of another kind: default"):
        load_tuner(edited, tmp_path / "lora", adapter_name="second")


def test_a_classifier_trains_its_head_and_keeps_it(tmp_path: Path) -> None:
    config = tiny().config
    config.num_labels = 3
    torch.manual_seed(0)
    base = transformers.AutoModelForSequenceClassification.from_config(config, dtype=torch.bfloat16).eval()
    torch.manual_seed(0)
    again = transformers.AutoModelForSequenceClassification.from_config(config, dtype=torch.bfloat16).eval()
    model = noisy(apply_tuner(base, "adapter", adapter_size=4), 1)
    head = own_layers(model)["score"].adapters["default"]
    assert all(value.requires_grad and value.dtype == torch.float32 for value in head.parameters())
    save_tuner(model, tmp_path)
    assert json.loads((tmp_path / "swift_adapter.json").read_text())["task_type"] == "SEQ_CLS"
    assert torch.equal(logits(load_tuner(again, tmp_path)), logits(model))


def test_folders_say_what_they_hold_and_refuse_another_base(tmp_path: Path) -> None:
    model = noisy(apply_tuner(tiny(), "adapter", adapter_size=4), 1)
    model.name_or_path = "some/base"
    save_tuner(model, tmp_path)
    saved = json.loads((tmp_path / "swift_adapter.json").read_text())
    assert (saved["method"], saved["config"]["adapter_size"]) == ("adapter", 4)
    assert saved["base_model_name_or_path"] == "some/base"
    other = tiny(hidden_size=48)
    start = logits(other)
    with pytest.raises(ModelError, match=r"model has \(4, 48\), file has \(4, 32\)[\s\S]*some/base"):
        load_tuner(other, tmp_path)
    assert not carries_own(other)
    assert torch.equal(logits(other), start)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp.*model has nothing"):
        load_tuner(tiny(num_hidden_layers=1), tmp_path)
    saved["version"] = 99
    (tmp_path / "swift_adapter.json").write_text(json.dumps(saved))
    with pytest.raises(ModelError, match="version 99"):
        load_tuner(tiny(), tmp_path)
    (tmp_path / "swift_adapter.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_tuner(tiny(), tmp_path)


def test_refusals() -> None:
    model = apply_tuner(tiny(), "adapter", adapter_size=4)
    with pytest.raises(ModelError, match="activation"):
        merge_tuner(model)
    with pytest.raises(ModelError, match="matches no module"):
        apply_tuner(tiny(), "adapter", target_modules=["nowhere"])
    with pytest.raises(ModelError, match="neither an attention nor a feed-forward"):
        apply_tuner(torch.nn.Sequential(torch.nn.ModuleList([torch.nn.ReLU(), torch.nn.ReLU()])), "adapter")
    with pytest.raises(ModelError, match="no adapter 'x'"):
        switch(model, "x")
