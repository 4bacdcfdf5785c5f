"""LongLoRA on models: groups in training only, padding and packs, what trains, what is saved."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from torch import Tensor, nn

from swift.core.errors import ModelError
from swift.core.models.attention import register_varlen_attention
from swift.tuners import apply_tuner, load_tuner, merge_tuner
from swift.tuners.longlora.config import LongloraConfig
from swift.tuners.longlora.tuner import LongloraTuner
from swift.tuners.peft_tuner import own_weights, peft_model

SIZES: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2,
}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
ARCHITECTURES: dict[str, Any] = {
    "qwen3": transformers.Qwen3Config(**SIZES, tie_word_embeddings=True),
    "llama": transformers.LlamaConfig(**SIZES),
    "qwen3-moe": transformers.Qwen3MoeConfig(**SIZES, **EXPERTS),
    "gemma3": transformers.Gemma3TextConfig(**SIZES, sliding_window=3, query_pre_attn_scalar=8),
}
TOKENS = torch.randint(0, 64, (2, 14), generator=torch.Generator().manual_seed(0))


def build(name: str, attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> Any:
    register_varlen_attention()
    torch.manual_seed(0)
    config = copy.deepcopy(ARCHITECTURES[name])
    made = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)
    return made.eval()


@torch.no_grad()
def logits(model: nn.Module, tokens: Tensor = TOKENS, **inputs: Any) -> Tensor:
    found: Tensor = model(input_ids=tokens, use_cache=False, **inputs).logits
    return found


def train(model: nn.Module, steps: int = 3) -> list[float]:
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=0.01)
    losses = []
    for _ in range(steps):
        loss = model.train()(input_ids=TOKENS, labels=TOKENS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_groups_act_in_training_alone(name: str) -> None:
    model = build(name)
    plain = logits(model)
    adapted: Any = apply_tuner(model, "longlora", group_size=4)
    assert torch.equal(logits(adapted.eval()), plain)
    shifted = logits(adapted.train())
    # The first half group sees the same in all heads; then the shifted heads forget it.
    torch.testing.assert_close(shifted[:, :2], plain[:, :2], rtol=0, atol=1e-5)
    assert float((shifted[:, 2:] - plain[:, 2:]).abs().max()) > 1e-2
    generated = adapted.eval().generate(input_ids=TOKENS[:1], max_new_tokens=3, do_sample=False)
    assert torch.equal(generated, build(name).generate(TOKENS[:1], max_new_tokens=3, do_sample=False))


@pytest.mark.parametrize("settings", [{"group_size": 4}, {"group_size_ratio": 0.5}])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_changes_nothing(settings: dict[str, Any], side: str) -> None:
    model = apply_tuner(build("qwen3"), "longlora", **settings).train()
    lengths = [14, 9, 9, 5]
    tokens = torch.zeros(4, 14, dtype=torch.long)
    mask = torch.zeros(4, 14, dtype=torch.long)
    places = [slice(0, n) if side == "right" else slice(14 - n, 14) for n in lengths]
    for row, (length, place) in enumerate(zip(lengths, places, strict=True)):
        tokens[row, place] = TOKENS[row % 2, :length]
        mask[row, place] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    # Left padding keeps its own positions, which would otherwise be taken for the bounds of packs.
    options = {"position_ids": positions} if side == "left" else {}
    together = logits(model, tokens, attention_mask=mask, **options)
    assert torch.isfinite(together).all()
    for row, (length, place) in enumerate(zip(lengths, places, strict=True)):
        alone = logits(model, TOKENS[row % 2, :length][None])[0]
        torch.testing.assert_close(together[row, place], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("attention", ["swift_varlen", "sdpa"])
@pytest.mark.parametrize("name", ["qwen3", "gemma3"])
def test_samples_of_a_pack_have_groups_of_their_own(name: str, attention: str) -> None:
    model = apply_tuner(build(name, attention), "longlora", group_size_ratio=0.4).train()
    lengths = [9, 1, 4]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    boundaries = torch.tensor([0, 9, 10, 14], dtype=torch.int32)
    sequences = {"cu_seq_lens_q": boundaries, "cu_seq_lens_k": boundaries} if attention != "sdpa" else {}
    packed = logits(model, TOKENS[:1], position_ids=positions, **sequences)[0].split(lengths)
    for sample, found in zip(TOKENS[0].split(lengths), packed, strict=True):
        torch.testing.assert_close(found, logits(model, sample[None])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["qwen3", "llama", "qwen3-moe"])
def test_embeddings_and_norms_train_beside_lora(name: str, tmp_path: Path) -> None:
    base = build(name)
    adapted: Any = apply_tuner(copy.deepcopy(base), "longlora", group_size=4, lora_rank=4)
    names = {key for key, value in adapted.named_parameters() if value.requires_grad}
    whole = {key.split(".modules_to_save")[0].removeprefix("base_model.model.") for key in names}
    norms = {key.removesuffix(".weight") for key, _ in base.named_parameters() if "norm" in key}
    assert {key for key in whole if "lora_" not in key} == {*norms, "model.embed_tokens"}
    before = {key: value.clone() for key, value in adapted.named_parameters()}
    losses = train(adapted)
    assert losses[-1] < losses[0]
    moved = {key for key, value in adapted.named_parameters() if not torch.equal(value, before[key])}
    assert moved == names
    expected = logits(adapted)
    LongloraTuner().save(adapted, tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).eval()
    assert torch.equal(logits(theirs), expected), "inference needs nothing of ours"
    assert torch.equal(logits(load_tuner(copy.deepcopy(base), tmp_path).eval()), expected)
    again = LongloraTuner(LongloraConfig(group_size=4)).load(copy.deepcopy(base), tmp_path, trainable=True)
    assert torch.equal(logits(again.eval()), expected)
    assert torch.equal(logits(again.train()), logits(adapted.train()))
    merged: Any = LongloraTuner().merge(adapted.eval())
    assert merged.config._attn_implementation == "sdpa"
    torch.testing.assert_close(logits(merged), expected, rtol=0, atol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert torch.equal(logits(plain), logits(merged)), "tied embeddings too"


def test_they_can_stay_frozen() -> None:
    adapted = apply_tuner(build("qwen3"), "longlora", train_embeddings=False, train_norms=False)
    assert all("lora_" in key for key, value in adapted.named_parameters() if value.requires_grad)


@pytest.mark.parametrize("name", ["qwen3", "llama"])
def test_what_trains_in_full_is_float32_beside_bfloat16(name: str, tmp_path: Path) -> None:
    base = build(name, dtype=torch.bfloat16)
    adapted = apply_tuner(copy.deepcopy(base), "longlora", group_size=4)
    assert {value.dtype for value in adapted.parameters() if value.requires_grad} == {torch.float32}
    assert logits(adapted.eval()).dtype == torch.bfloat16
    losses = train(adapted)
    assert losses[-1] < losses[0]
    LongloraTuner().save(adapted, tmp_path)
    again = LongloraTuner(LongloraConfig(group_size=4)).load(base, tmp_path, trainable=True)
    kept, trained = own_weights(peft_model(again)), own_weights(peft_model(adapted))
    assert all(torch.equal(kept[key], value) for key, value in trained.items()), "all digits"
    torch.testing.assert_close(logits(again.eval()), logits(adapted), rtol=0.02, atol=0.1)
    torch.testing.assert_close(logits(merge_tuner(adapted)), logits(again), rtol=0.05, atol=0.1)


def test_two_adapters_stand_side_by_side() -> None:
    from swift.tuners import adapter_names, switch_adapter

    model = apply_tuner(build("qwen3"), "longlora", group_size=4)
    train(model)
    first = logits(model)
    model = apply_tuner(model, "longlora", adapter_name="second", group_size=4)
    train(model)
    assert adapter_names(model) == ["default", "second"]
    assert not torch.allclose(logits(model), first, atol=1e-3)
    switch_adapter(model, "default")
    assert torch.equal(logits(model), first)


def test_gradient_checkpointing_recomputes_the_same_groups() -> None:
    adapted: Any = apply_tuner(build("qwen3"), "longlora", group_size=4).train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            adapted.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        adapted.zero_grad()
        adapted(input_ids=TOKENS, labels=TOKENS).loss.backward()
        gradients.append([value.grad.clone() for value in adapted.parameters() if value.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_attention_that_cannot_be_shifted_is_refused() -> None:
    with pytest.raises(ModelError, match="does not read the masks of attn_implementation 'eager'"):
        apply_tuner(build("qwen3", "eager"), "longlora")
    with pytest.raises(ModelError, match="does not take its attention from transformers"):
        apply_tuner(nn.Linear(2, 2), "longlora")
    mamba = transformers.MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2)
    with pytest.raises(ModelError, match="cannot be shifted"):
        apply_tuner(transformers.AutoModelForCausalLM.from_config(mamba), "longlora")
    model = build("qwen3")
    with pytest.raises(ModelError, match="matches no layer"):
        apply_tuner(model, "longlora", target_modules="query")
    assert model.config._attn_implementation == "sdpa", "left as it was"
    capped: Any = transformers.Gemma2Config(**SIZES)
    torch.manual_seed(0)
    gemma = transformers.AutoModelForCausalLM.from_config(capped, attn_implementation="sdpa")
    with pytest.raises(ModelError, match="adds softcap"):
        logits(apply_tuner(gemma, "longlora").train())
