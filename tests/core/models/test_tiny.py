"""Every tiny family builds, trains, and survives being saved; the shared tokenizer loses nothing."""

import json
from typing import Any

import pytest
import torch

from swift.core.config.schema import ModelConfig
from swift.core.errors import ModelError, RegistryError
from swift.core.models.load import load_config, load_model, load_processor, load_tokenizer, save_model
from swift.core.models.tiny.family import tiny_tokenizer
from swift.core.models.tiny.train_tokenizer import train
from swift.core.models.tiny.vocabulary import TOKEN_IDS, VOCAB_SIZE

FAMILIES = ["gemma3", "llama", "mistral", "phi3", "qwen2", "qwen3", "qwen3-moe"]
CPU: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}


def tiny(family, **keys):
    return ModelConfig(model_id=f"tiny/{family}", **keys)


@pytest.mark.parametrize("family", FAMILIES)
def test_family_trains_and_survives_saving(family, tmp_path):
    model = load_model(tiny(family), **CPU)
    size = sum(parameter.numel() for parameter in model.parameters())
    assert 0.9e6 < size < 1.6e6
    tokens = torch.arange(40).reshape(2, 20) * 7
    output = model(input_ids=tokens, labels=tokens)
    output.loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert torch.isfinite(output.loss)
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)

    save_model(model, load_processor(tiny(family)), tmp_path)
    saved = ModelConfig(model_id=str(tmp_path))
    again = load_model(saved, **CPU)
    assert type(again) is type(model)
    with torch.no_grad():
        assert torch.equal(again(input_ids=tokens).logits, model(input_ids=tokens).logits)
    text = "Reverse 12345:\n\tdéjà vu, 你好 😀 <|im_start|><tool_call>{}"
    ours, theirs = tiny_tokenizer(), load_tokenizer(saved)
    assert theirs(text).input_ids == ours(text).input_ids
    assert (theirs.pad_token, theirs.eos_token) == (ours.pad_token, ours.eos_token)
    assert theirs.chat_template == ours.chat_template


def test_seed_decides_the_weights_and_nothing_else_moves():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, same, other = (load_model(tiny("qwen3"), **CPU, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    weight = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])


def test_options_reach_from_pretrained():
    plain = load_model(tiny("qwen3"), **CPU)
    model = load_model(tiny("qwen3"), **CPU, options={"rms_norm_eps": 0.5})
    assert model.config.rms_norm_eps == 0.5
    assert torch.equal(model.lm_head.weight, plain.lm_head.weight)


def test_dtype_and_attention_are_what_was_asked(tmp_path):
    model = load_model(tiny("llama", attn_implementation="eager"), dtype=torch.bfloat16, device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.config._attn_implementation == "eager"
    save_model(model, tiny_tokenizer(), tmp_path)
    again = load_model(ModelConfig(model_id=str(tmp_path)), **CPU)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    assert again.config._attn_implementation == "sdpa"
    with pytest.raises(ModelError, match="no_such_attention"):
        load_model(tiny("llama", attn_implementation="no_such_attention"), **CPU)


def test_unknown_family_names_the_nearest():
    with pytest.raises(RegistryError, match=r"'qwen3'"):
        load_config(tiny("qwen33"))


def test_tokenizer_round_trip_and_special_tokens():
    tokenizer = tiny_tokenizer()
    text = "def f(x):\n\treturn 'naïve' # 1,000 €\r\n\n  <think>ok</think><|im_end|> 漢字 🎉 don't "
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert len(tokenizer) == VOCAB_SIZE
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in TOKEN_IDS} == TOKEN_IDS
    assert tokenizer.tokenize("20457") == list("20457")
    kept = tokenizer.decode(
        tokenizer("<|im_start|><tool_call>{}<|im_end|>").input_ids, skip_special_tokens=True
    )
    assert kept == "<tool_call>{}"


def test_tokenizer_is_what_its_script_makes():
    trained, shipped = train(), tiny_tokenizer()
    assert trained.backend_tokenizer.pre_tokenizer.__getstate__() == (
        shipped.backend_tokenizer.pre_tokenizer.__getstate__()
    )
    assert trained.chat_template == shipped.chat_template
    merges = [json.loads(each.backend_tokenizer.to_str())["model"]["merges"] for each in (trained, shipped)]
    # Another Python brings another text, so only the bulk of the merges is the same everywhere.
    common = {tuple(pair) for pair in merges[0]} & {tuple(pair) for pair in merges[1]}
    assert len(common) > 0.8 * len(merges[1])


def test_a_folder_without_tokenizer_files_is_refused(tmp_path):
    save_model(load_model(tiny("qwen3"), **CPU), load_processor(tiny("qwen3")), tmp_path)
    for file in [*tmp_path.glob("tokenizer*"), *tmp_path.glob("*.jinja")]:
        file.unlink()
    with pytest.raises(ModelError, match="no tokenizer files"):
        load_tokenizer(ModelConfig(model_id=str(tmp_path)))
