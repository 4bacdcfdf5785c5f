"""Prompt and prefix tuning: losses at the right positions, generation as in training, peft's format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from torch import nn

from swift.core.errors import ModelError
from swift.core.objectives.logits import logits_at
from swift.core.types import GenerationRequest, SamplingParams
from swift.tuners import apply_tuner, load_tuner

METHODS = ["prompt", "prefix"]
N = 3
TOKENS = torch.arange(1, 25).reshape(2, 12)
WANTED = torch.zeros(2, 11, dtype=torch.bool)
WANTED[0, 4:9] = True
WANTED[1, 7:] = True


def tiny() -> Any:
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, initializer_range=0.2, eos_token_id=None,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def tuned(method: str, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    model: Any = apply_tuner(tiny(), method, num_virtual_tokens=N)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value += 0.5 * torch.randn_like(value)
    return model.eval()


def reference(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Logits [B, T, V] by hand: virtual tokens and real ones in one pass of the base."""
    base, rows = model.get_base_model(), tokens.shape[0]
    with torch.no_grad():
        if isinstance(model.active_peft_config, peft.PromptTuningConfig):
            virtual = model.prompt_encoder["default"].embedding.weight.expand(rows, -1, -1)
            whole = torch.cat([virtual, base.get_input_embeddings()(tokens)], dim=1)
            found: torch.Tensor = base(inputs_embeds=whole, use_cache=False).logits[:, N:]
            return found
        cache = model.get_prompt(rows)
        prefixed: torch.Tensor = base(input_ids=tokens, past_key_values=cache, use_cache=True).logits
    return prefixed


@pytest.mark.parametrize("method", METHODS)
def test_an_objectives_positions_are_those_of_its_own_tokens(method: str) -> None:
    model = tuned(method)
    expected = reference(model, TOKENS)[:, :-1][WANTED]
    for positions in ({}, {"position_ids": torch.arange(12).expand(2, -1)}):
        with torch.no_grad():
            found = logits_at(model, {"input_ids": TOKENS, **positions}, WANTED)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    shifted = reference(model, TOKENS)[:, 1:][WANTED]
    assert not torch.allclose(found, shifted, atol=0.1), "a position beside is told apart"


@pytest.mark.parametrize("method", METHODS)
def test_padding_on_the_right_changes_nothing(method: str) -> None:
    model = tuned(method)
    tokens, mask = TOKENS.clone(), torch.ones_like(TOKENS)
    tokens[0, 10:], mask[0, 10:] = 0, 0
    with torch.no_grad():
        found = logits_at(model, {"input_ids": tokens, "attention_mask": mask}, WANTED)
    torch.testing.assert_close(found, reference(model, TOKENS)[:, :-1][WANTED], atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_losses_of_transformers_and_kept_columns_agree(method: str) -> None:
    model = tuned(method)
    labels = TOKENS.clone()
    labels[:, :5] = -100
    with torch.no_grad():
        output = model(input_ids=TOKENS, labels=labels, use_cache=False)
        last = model(input_ids=TOKENS, logits_to_keep=2, use_cache=False).logits
    expected = nn.functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    assert output.logits.shape == (2, 12, 64)
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(last, output.logits[:, -2:])


@pytest.mark.parametrize("method", METHODS)
def test_generation_continues_what_training_sees(method: str) -> None:
    """Greedy answers of transformers' generate and of the engine are those of whole forward passes."""
    from swift.core.config.schema import ModelConfig
    from swift.core.models.load import load_tokenizer
    from swift.infer.engines.transformers.engine import TransformersEngine

    model = tuned(method)
    expected = []
    for prompt in (TOKENS[:1, :5], TOKENS[1:, :1]):
        tokens = prompt
        for _ in range(6):
            tokens = torch.cat([tokens, reference(model, tokens)[:, -1:].argmax(-1)], dim=1)
        expected.append(tokens[0, prompt.shape[1] :].tolist())
        if prompt.shape[1] > 1:
            generated = model.generate(prompt, max_new_tokens=6, do_sample=False)
            assert generated[0, 5:].tolist() == expected[-1]
    engine = TransformersEngine(model, load_tokenizer(ModelConfig()))
    sampling = SamplingParams(max_tokens=6, temperature=0.0, ignore_eos=True)
    prompts = [tuple(TOKENS[0, :5].tolist()), tuple(TOKENS[1, :1].tolist())]
    requests = [GenerationRequest(str(i), prompt, sampling) for i, prompt in enumerate(prompts)]
    answers: dict[str, list[int]] = {"0": [], "1": []}
    for delta in engine.generate(requests):
        answers[delta.request_id] += delta.token_ids
    engine.close()
    assert list(answers.values()) == expected


@pytest.mark.parametrize("method", METHODS)
def test_peft_computes_the_same_from_the_saved_folder(method: str, tmp_path: Path) -> None:
    from swift.tuners.api import save_tuner

    model = tuned(method)
    save_tuner(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny(), str(tmp_path))
    loaded = load_tuner(tiny(), tmp_path)
    with torch.no_grad():
        found = model(input_ids=TOKENS).logits
        torch.testing.assert_close(theirs(input_ids=TOKENS).logits[:, -12:], found)
        torch.testing.assert_close(loaded(input_ids=TOKENS).logits, found)
    assert not any(value.requires_grad for value in loaded.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_what_virtual_tokens_cannot_do_is_refused(method: str) -> None:
    from swift.tuners import merge_tuner

    model = tuned(method)
    with pytest.raises(ModelError, match=r"packed row[\s\S]*data.packing=false"):
        model(input_ids=TOKENS[:1], cu_seq_lens_q=torch.tensor([0, 5, 12]))
    with pytest.raises(ModelError, match="virtual tokens"):
        merge_tuner(model)
    classifier = transformers.AutoModelForSequenceClassification.from_config(tiny().config)
    with pytest.raises(ModelError, match="no causal language model"):
        apply_tuner(classifier, method)


def test_only_the_adapter_in_use_trains() -> None:
    from swift.tuners import switch_adapter

    model: Any = apply_tuner(tiny(), "prompt", num_virtual_tokens=N)
    apply_tuner(model, "prompt", adapter_name="second", num_virtual_tokens=5)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "prompt_encoder.second.embedding.weight"
    ]
    switch_adapter(model, "default")
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "prompt_encoder.default.embedding.weight"
    ]
