"""LoRA on three architectures: what moves, what is saved, what is merged, what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

from swift.core.errors import ConfigError, ModelError, RegistryError
from swift.tuners import apply_tuner, load_tuner, merge_tuner, save_tuner
from swift.tuners.lora.config import LoraConfig, QloraConfig
from swift.tuners.lora.tuner import LoraTuner

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
ARCHITECTURES = {
    "qwen3": (transformers.Qwen3Config, {}),
    "llama": (transformers.LlamaConfig, {}),
    "qwen3-moe": (transformers.Qwen3MoeConfig, EXPERTS),
}
TOKENS = torch.arange(24).reshape(2, 12) % 64


def transformer(name: str, **sizes: Any) -> Any:
    torch.manual_seed(0)
    config, extra = ARCHITECTURES[name]
    return transformers.AutoModelForCausalLM.from_config(config(**SIZES | extra | sizes)).eval()


def build(name: str, **sizes: Any) -> nn.Module:
    model: nn.Module = transformer(name, **sizes)
    return model


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model.eval()(input_ids=TOKENS).logits
    return result


def base_of(model: nn.Module) -> Any:
    return cast("Any", model).get_base_model()


def train(model: nn.Module, steps: int = 5) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(steps):
        loss = model.train()(input_ids=TOKENS, labels=TOKENS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_only_the_adapter_moves_and_the_loss_falls(model: nn.Module) -> None:
    before = {name: value.clone() for name, value in model.named_parameters()}
    start = logits(model)
    adapted = apply_tuner(model, "lora", lora_rank=4)
    assert torch.equal(logits(adapted), start), "a fresh adapter must not change the function"
    losses = train(adapted)
    assert losses[-1] < losses[0] - 0.1
    trainable = [name for name, value in adapted.named_parameters() if value.requires_grad]
    assert trainable
    assert all("lora_A" in name or "lora_B" in name for name in trainable)
    assert {name.split(".")[-4] for name in trainable} >= {"q_proj", "k_proj", "v_proj", "o_proj"}
    after = {name.replace(".base_layer", ""): value for name, value in base_of(adapted).named_parameters()}
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_saved_adapter_gives_equal_logits_and_peft_reads_it(model: nn.Module, tmp_path: Path) -> None:
    import peft

    base = copy.deepcopy(model)
    tuner = LoraTuner(LoraConfig(lora_rank=4, use_rslora=True))
    adapted = tuner.apply(model)
    train(adapted)
    tuner.save(adapted, tmp_path)
    loaded = load_tuner(copy.deepcopy(base), tmp_path)
    assert torch.equal(logits(loaded), logits(adapted))
    assert not any(value.requires_grad for value in loaded.parameters())
    by_peft = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path))
    assert torch.equal(logits(by_peft), logits(adapted))
    going_on = tuner.load(copy.deepcopy(base), tmp_path, trainable=True)
    assert train(going_on, 1)[0] == pytest.approx(train(adapted, 1)[0], abs=1e-6)


def test_merged_model_is_plain_and_computes_the_same(model: nn.Module) -> None:
    kind = type(model)
    names = set(model.state_dict())
    adapted = apply_tuner(model, "lora", lora_rank=4)
    train(adapted)
    expected = logits(adapted)
    merged = merge_tuner(adapted)
    assert type(merged) is kind
    assert set(merged.state_dict()) == names
    assert torch.allclose(logits(merged), expected, atol=1e-5, rtol=0)
    assert merge_tuner(merged) is merged


def test_gradient_checkpointing_gives_the_same_gradients(model: nn.Module) -> None:
    adapted = apply_tuner(model, "lora", lora_rank=4)
    train(adapted, 1)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            base_of(adapted).gradient_checkpointing_enable()
        adapted.zero_grad()
        adapted.train()(input_ids=TOKENS, labels=TOKENS).loss.backward()
        gradients.append({n: p.grad.clone() for n, p in adapted.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() != set()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradients[1][name], gradient, atol=1e-6), name


def test_target_modules_by_name(model: nn.Module) -> None:
    adapted = apply_tuner(model, "lora", lora_rank=4, target_modules=["q_proj", "v_proj"])
    trained = {name.split(".")[-4] for name, value in adapted.named_parameters() if value.requires_grad}
    assert trained == {"q_proj", "v_proj"}


def test_all_linear_leaves_the_head_out_and_names_layers_shortly(tmp_path: Path) -> None:
    tuner = LoraTuner()
    tuner.save(tuner.apply(build("llama")), tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    expected = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert sorted(saved["target_modules"]) == expected
    assert (saved["r"], saved["lora_alpha"]) == (8, 16)


def test_modules_to_save_train_in_full(tmp_path: Path) -> None:
    base = build("llama")
    adapted = apply_tuner(copy.deepcopy(base), "lora", target_modules="q_proj", modules_to_save="lm_head")
    before = base_of(adapted).lm_head.weight.clone()
    train(adapted)
    assert not torch.equal(base_of(adapted).lm_head.weight, before)
    LoraTuner().save(adapted, tmp_path)
    assert torch.equal(logits(load_tuner(base, tmp_path)), logits(adapted))


def test_a_plain_torch_module_can_be_tuned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    adapted = apply_tuner(copy.deepcopy(base), "lora", lora_rank=2)
    names = {name for name, value in adapted.named_parameters() if value.requires_grad}
    assert len(names) == 4
    for value in adapted.parameters():
        if value.requires_grad:
            nn.init.normal_(value)
    inputs = torch.randn(3, 8)
    LoraTuner().save(adapted, tmp_path)
    loaded = load_tuner(base, tmp_path)
    assert torch.equal(loaded(inputs), adapted(inputs))
    assert torch.allclose(merge_tuner(loaded)(inputs), adapted(inputs), atol=1e-5)


def test_base_folder_is_recorded_so_that_it_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer("qwen3").save_pretrained(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    tuner = LoraTuner()
    tuner.save(tuner.apply(transformers.AutoModelForCausalLM.from_pretrained("base")), tmp_path / "adapter")
    saved = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str((tmp_path / "base").resolve())


def test_a_target_that_matches_nothing_lists_the_linear_layers() -> None:
    with pytest.raises(ModelError, match="'query' matches no layer") as error:
        apply_tuner(build("qwen3"), "lora", target_modules=["q_proj", "query"])
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in error.value.remedy
    with pytest.raises(ModelError, match="modules_to_save: 'zzz' matches no layer") as error:
        apply_tuner(build("qwen3"), "lora", modules_to_save=["lm_head", "zzz"])
    assert "embed_tokens" in error.value.remedy and "0" not in error.value.remedy


def test_a_target_that_cannot_be_adapted_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot go on"):
        apply_tuner(build("qwen3"), "lora", target_modules="input_layernorm")


def test_an_adapter_for_other_layers_names_the_layer_and_the_remedy(tmp_path: Path) -> None:
    plain = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    save_tuner(
        apply_tuner(plain, "lora", lora_rank=2), tmp_path
    )  # its targets, 0 and 2, are blocks of a model
    with pytest.raises(ModelError, match=r"Target module Qwen3DecoderLayer is not supported") as error:
        load_tuner(build("qwen3"), tmp_path)
    assert "\n" not in error.value.problem
    assert "the base it was trained on" in error.value.remedy


def test_a_folder_that_is_none_is_neither_read_nor_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere' is not a folder"):
        load_tuner(build("qwen3"), tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"file' cannot be written"):
        save_tuner(apply_tuner(build("qwen3"), "lora"), tmp_path / "file")


@pytest.mark.parametrize("name", ["", "a.b", "a/b"])
def test_a_name_that_would_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="is no name"):
        apply_tuner(build("qwen3"), "lora", adapter_name=name)


def test_a_rank_above_the_smaller_dimension_is_refused() -> None:
    with pytest.raises(ModelError, match=r"lora_rank 17 .*k_proj.* \(32 x 16\)") as error:
        apply_tuner(build("qwen3"), "lora", lora_rank=17)
    assert "lora_rank <= 16" in error.value.remedy
    apply_tuner(build("qwen3"), "lora", lora_rank=16)


def test_an_adapter_of_another_base_is_refused_and_leaves_the_model_alone(tmp_path: Path) -> None:
    tuner = LoraTuner(LoraConfig(lora_rank=4))
    tuner.save(tuner.apply(build("qwen3")), tmp_path)
    other = build("qwen3", hidden_size=48)
    before, names = logits(other), set(other.state_dict())
    with pytest.raises(ModelError, match="do not fit this model") as error:
        load_tuner(other, tmp_path)
    assert "q_proj.lora_A.weight: model has (4, 48), file has (4, 32)" in error.value.problem
    assert set(other.state_dict()) == names
    assert torch.equal(logits(other), before)
    with pytest.raises(ModelError, match="file has nothing"):
        load_tuner(build("qwen3", num_hidden_layers=3), tmp_path)


@pytest.mark.parametrize("settings", [{"lora_rnk": 4}, {"lora_rank": 0}, {"init_lora_weights": "best"}])
def test_wrong_settings_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        apply_tuner(nn.Linear(4, 4), "lora", **settings)


def test_unknown_tuner_and_missing_adapter(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="lorra"):
        apply_tuner(nn.Linear(4, 4), "lorra")
    with pytest.raises(ModelError, match="does not exist"):
        load_tuner(nn.Linear(4, 4), tmp_path)
    with pytest.raises(ModelError, match="holds no adapter"):
        LoraTuner().load(nn.Linear(4, 4), tmp_path)
    with pytest.raises(ModelError, match="carries no adapter"):
        LoraTuner().save(nn.Linear(4, 4), tmp_path)


def test_qlora_without_bitsandbytes_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs bitsandbytes") as error:
        LoraTuner(QloraConfig()).load_options()
    assert 'pip install "swift-tuners[bitsandbytes]"' in error.value.remedy


def test_qlora_trains_only_the_adapter_on_four_bit_weights(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    transformer("llama", hidden_size=64, head_dim=16).save_pretrained(tmp_path / "base")
    tuner = LoraTuner(QloraConfig(lora_rank=4))
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", **tuner.load_options())
    adapted = tuner.apply(model)
    losses = train(adapted)
    assert losses[-1] < losses[0] - 0.1
    assert type(model.model.layers[0].self_attn.q_proj.base_layer).__name__ == "Linear4bit"
    assert all("lora_" in name for name, value in adapted.named_parameters() if value.requires_grad)
    tuner.save(adapted, tmp_path / "adapter")
    assert all("lora_" in name for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    with pytest.raises(ModelError, match="quantised weights cannot be merged"):
        tuner.merge(adapted)


def test_an_adapter_that_is_not_finite_is_not_merged() -> None:
    adapted = apply_tuner(build("llama"), "lora", lora_rank=4)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                value.fill_(float("nan"))
    with pytest.raises(ModelError, match="cannot be merged"):
        merge_tuner(adapted)
