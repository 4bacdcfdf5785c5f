"""Which weights `freeze` chooses, what it refuses, and that the rest stays."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from swift.core.errors import ConfigError, ModelError
from swift.tuners import apply_tuner
from swift.tuners.freeze.config import FreezeConfig
from swift.tuners.freeze.tuner import FreezeTuner, layer_numbers

TOKENS = torch.arange(24).reshape(2, 12)


def tiny(tie: bool = True, **sizes: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, head_dim=8, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tie, **{"num_hidden_layers": 4, **sizes},
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def trained(model: nn.Module, **settings: Any) -> set[str]:
    chosen = apply_tuner(model, "freeze", **settings)
    return {name for name, value in chosen.named_parameters() if value.requires_grad}


def layers(names: set[str]) -> set[int]:
    return {int(name.split(".")[2]) for name in names if ".layers." in name}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(None, {2, 3}), (1, {3}), (-3, {0, 1, 2}), ([0, 2], {0, 2}), ([-1], {3})],
)
def test_by_layer(wanted: Any, expected: set[int]) -> None:
    names = trained(tiny(), **({} if wanted is None else {"freeze_trainable_layers": wanted}))
    assert layers(names) == expected
    assert all(".layers." in name for name in names)


def test_roles_join_the_layers() -> None:
    wanted = ["embeddings", "norms", "q_proj"]
    names = trained(tiny(tie=False), freeze_trainable_layers=1, freeze_extra_modules=wanted)
    others = {name for name in names if ".layers.3." not in name}
    assert "model.embed_tokens.weight" in others
    assert "model.norm.weight" in others
    assert "lm_head.weight" not in others
    assert {"model.layers.0.self_attn.k_norm.weight", "model.layers.0.self_attn.q_proj.weight"} <= others
    assert "model.layers.0.self_attn.v_proj.weight" not in others
    assert trained(tiny(tie=False), freeze_extra_modules="head") == {"lm_head.weight"}


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.77])
def test_the_first_share_of_all_parameters_stays_frozen(ratio: float) -> None:
    model = tiny()
    names = trained(model, freeze_parameters_ratio=ratio)
    every = list(model.named_parameters())
    first = next(index for index, (name, _) in enumerate(every) if name in names)
    assert names == {name for name, _ in every[first:]}, "all after the first that trains do"
    total = sum(value.numel() for _, value in every)
    frozen = sum(value.numel() for _, value in every[:first])
    assert frozen <= ratio * total < frozen + every[first][1].numel()


def test_patterns_freeze_and_train() -> None:
    model = tiny()
    names = trained(
        model, freeze_parameters=["embed_tokens", r"layers\.[01]"], trainable_parameters="layers.1.mlp"
    )
    assert layers(names) == {1, 2, 3}
    assert {name for name in names if ".layers.1." in name} == {
        f"model.layers.1.mlp.{part}_proj.weight" for part in ("gate", "up", "down")
    }
    assert "model.norm.weight" in names
    assert trained(tiny(), trainable_parameters=".*_norm") == {
        f"model.layers.{n}.self_attn.{part}_norm.weight" for n in range(4) for part in "qk"
    }
    assert layers(trained(tiny(num_hidden_layers=11), trainable_parameters="layers.1")) == {1}


def test_a_tied_weight_answers_to_both_names(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert trained(tiny(), trainable_parameters="lm_head") == {"model.embed_tokens.weight"}
    assert "model.embed_tokens.weight and lm_head.weight are one tied weight" in caplog.text
    assert trained(tiny(tie=False), trainable_parameters="lm_head") == {"lm_head.weight"}


def test_a_new_classification_head_trains() -> None:
    model = transformers.AutoModelForSequenceClassification.from_config(tiny().config)
    assert "score.weight" in trained(model, freeze_trainable_layers=1)


def test_only_the_chosen_move_and_a_whole_plain_model_is_saved(tmp_path: Path) -> None:
    model = tiny()
    tuner = FreezeTuner(FreezeConfig(freeze_trainable_layers=[1], freeze_extra_modules=["norm"]))
    tuner.apply(model)
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for _ in range(4):
        loss = model.train()(input_ids=TOKENS, labels=TOKENS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert layers(moved) == {1}
    assert {name for name in moved if ".layers." not in name} == {"model.norm.weight"}
    tuner.save(model, tmp_path)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(plain(TOKENS).logits, model.eval()(TOKENS).logits)
    again = tuner.load(tiny(), tmp_path, trainable=True)
    assert {n for n, v in again.named_parameters() if v.requires_grad} == {
        n for n, v in model.named_parameters() if v.requires_grad
    }
    assert not any(value.requires_grad for value in tuner.load(tiny(), tmp_path).parameters())


def test_what_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(ModelError, match="trainable_parameters: 'lmhead' matches no parameter") as error:
        trained(tiny(), trainable_parameters="lmhead")
    assert "lm_head" in error.value.remedy
    assert "embed_tokens" in error.value.remedy
    with pytest.raises(ModelError, match="freeze_parameters: 'embed' matches"):
        trained(tiny(), freeze_parameters="embed")
    with pytest.raises(ModelError, match="freeze_extra_modules: Sequential shows no embeddings"):
        trained(nn.Sequential(nn.Linear(2, 2)), freeze_extra_modules="embeddings")
    with pytest.raises(ModelError, match="5 does not fit a model of 4 layers"):
        trained(tiny(), freeze_trainable_layers=5)
    with pytest.raises(ModelError, match="has no list of layers"):
        trained(nn.Sequential(nn.Linear(2, 2)), freeze_trainable_layers=1)
    with pytest.raises(ModelError, match="leaves no parameter"):
        trained(tiny(), freeze_parameters_ratio=1.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"freeze_parameters": "layers.(0"}, "neither a name nor a regular expression"),
        ({"freeze_trainable_layers": 1, "freeze_parameters_ratio": 0.5}, "set one"),
        ({"freeze_trainable_layers": 0}, "chooses no layer"),
        ({"freeze_parameters_ratio": 1.5}, "freeze_parameters_ratio"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        apply_tuner(tiny(), "freeze", **settings)


def test_numbers_of_layers() -> None:
    assert layer_numbers(4, 4) == layer_numbers(-4, 4) == [0, 1, 2, 3]
    with pytest.raises(ModelError, match=r"\[0, 4\] does not fit"):
        layer_numbers([0, 4], 4)
