"""LoReFT: the formula, which tokens are edited, and that training and generation agree about it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from swift.core.errors import ModelError
from swift.core.models.attention import register_varlen_attention
from swift.core.models.prompt import prompt_lengths, reads_prompt_lengths
from swift.core.objectives.logits import logits_at
from swift.tuners import apply_tuner
from swift.tuners.own import own_layers
from swift.tuners.reft.intervention import LowRankEdit, PromptEnds

TOKENS = torch.arange(1, 25).reshape(2, 12)
PROMPT = {"reft_positions": "prompt", "reft_first_tokens": 2, "reft_last_tokens": 1, "reft_rank": 4}


def tiny(**options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, initializer_range=0.2, eos_token_id=None,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config, **options).eval()


def trained(**settings: Any) -> Any:
    model: Any = apply_tuner(tiny(**settings.pop("options", {})), "reft", **settings)
    torch.manual_seed(3)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value += 0.3 * torch.randn_like(value)
    return model


def logits(model: Any, tokens: torch.Tensor = TOKENS, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=tokens, use_cache=False, **inputs).logits
    return found


def test_the_edit_is_the_papers_formula_with_orthonormal_rows() -> None:
    torch.manual_seed(0)
    edit = LowRankEdit(16, 4)
    hidden = torch.randn(2, 5, 16)
    assert torch.allclose(edit(hidden), hidden, atol=1e-6)
    optimizer = torch.optim.AdamW(edit.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(5):
        edit(hidden).square().sum().backward()
        optimizer.step()
    with torch.no_grad():
        rotation = edit.rotation()
        assert torch.allclose(rotation @ rotation.T, torch.eye(4), atol=1e-5)
        weight, bias = edit.source.weight, edit.source.bias
        expected = [h + rotation.T @ (weight @ h + bias - rotation @ h) for h in hidden.reshape(-1, 16)]
        assert torch.allclose(edit(hidden).reshape(-1, 16), torch.stack(expected), atol=1e-5)
        # within the span of R the state is replaced by W h + b, outside it stays
        assert torch.allclose(edit(hidden) @ rotation.T, hidden @ weight.T + bias, atol=1e-4)


def test_ends_of_prompts() -> None:
    ends = PromptEnds(first=2, last=1)
    mask = ends.mask(torch.arange(6)[None], torch.tensor([[4], [2], [6]]))
    assert mask.int().tolist() == [[1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1]]


def test_prompt_lengths_come_from_what_is_learned() -> None:
    wanted = torch.tensor([[0, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
    assert prompt_lengths(wanted, {}).tolist() == [[3], [6], [1]]
    packed = torch.tensor([[0, 1, 1, 0, 1, 0, 0, 0]], dtype=torch.bool)
    boundaries = torch.tensor([0, 4, 6, 9], dtype=torch.int32)
    found = prompt_lengths(packed, {"cu_seq_lens_q": boundaries})
    assert found.tolist() == [[2, 2, 2, 2, 1, 1, 3, 3, 3]]


def test_only_the_ends_of_the_prompt_are_edited() -> None:
    model = trained(**PROMPT, reft_layers=[1])  # the last layer, so that attention carries nothing on
    start = logits(tiny())
    found = logits(model, prompt_lengths=torch.tensor([[6], [3]]))
    changed = (found - start).abs().amax(dim=-1) > 1e-4
    assert changed.int().tolist() == [[1, 1, 0, 0, 0, 1] + [0] * 6, [1, 1, 1] + [0] * 9]


def test_objectives_say_where_prompts_end() -> None:
    model = trained(**PROMPT)
    assert reads_prompt_lengths(model)
    assert not reads_prompt_lengths(trained(reft_rank=4))
    wanted = torch.zeros(2, 11, dtype=torch.bool)
    wanted[0, 5:] = True
    wanted[1, 2:] = True
    with torch.no_grad():
        found = logits_at(model.train(), {"input_ids": TOKENS}, wanted)
    expected = logits(model, prompt_lengths=torch.tensor([[6], [3]]))[:, :-1][wanted]
    torch.testing.assert_close(found, expected)


def test_packed_rows_are_edited_as_if_alone() -> None:
    register_varlen_attention()
    model = trained(**PROMPT, options={"attn_implementation": "swift_varlen"})
    rows, wanted = [TOKENS[0, :7], TOKENS[1, :5]], torch.zeros(1, 11, dtype=torch.bool)
    wanted[0, [3, 4, 5, 8, 9, 10]] = True
    inputs = {
        "input_ids": torch.cat(rows)[None],
        "position_ids": torch.cat([torch.arange(7), torch.arange(5)])[None],
        "cu_seq_lens_q": torch.tensor([0, 7, 12], dtype=torch.int32),
        "cu_seq_lens_k": torch.tensor([0, 7, 12], dtype=torch.int32),
    }
    with torch.no_grad():
        together = logits_at(model, inputs, wanted)
    alone = [
        logits(model, rows[0][None], prompt_lengths=torch.tensor([[4]]))[0, 3:6],
        logits(model, rows[1][None], prompt_lengths=torch.tensor([[2]]))[0, 1:4],
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_generation_edits_the_prompt_and_nothing_after_it() -> None:
    """Greedy tokens with a cache are those of whole forward passes that are told the prompt's length."""
    model = trained(**PROMPT)
    prompt = TOKENS[:1, :5]
    answer = model.generate(prompt, max_new_tokens=6, do_sample=False)
    tokens = prompt
    for _ in range(6):
        following = logits(model, tokens, prompt_lengths=torch.tensor([[5]]))[:, -1].argmax(-1)
        tokens = torch.cat([tokens, following[:, None]], dim=1)
    assert answer.tolist() == tokens.tolist()


def test_left_padded_prompts_generate_as_alone() -> None:
    model = trained(**PROMPT)
    alone = [
        model.generate(TOKENS[row : row + 1, :n], max_new_tokens=4, do_sample=False)[0, n:]
        for row, n in enumerate((5, 3))
    ]
    padded = torch.stack([TOKENS[0, :5], torch.cat([torch.zeros(2, dtype=torch.long), TOKENS[1, :3]])])
    mask = torch.tensor([[1] * 5, [0, 0, 1, 1, 1]])
    found = model.generate(padded, attention_mask=mask, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert found[:, 5:].tolist() == torch.stack(alone).tolist()


def test_without_a_word_about_the_prompt_it_is_refused() -> None:
    model = trained(**PROMPT)
    with pytest.raises(ModelError, match="prompt_lengths"):
        logits(model)
    with pytest.raises(ModelError, match="prompt_lengths"):
        model.train()(input_ids=TOKENS, labels=TOKENS)
    mask = torch.ones_like(TOKENS)
    mask[1, 8:] = 0
    with pytest.raises(ModelError, match="prompt_lengths"):
        model.eval()(input_ids=TOKENS, attention_mask=mask, use_cache=True)


def test_layers_can_be_chosen() -> None:
    assert list(own_layers(trained(reft_layers=[1], reft_rank=4))) == ["model.layers.1"]
    with pytest.raises(ModelError, match="layers 0 to 1"):
        apply_tuner(tiny(), "reft", reft_layers=[2])
    with pytest.raises(ModelError, match="not below the model's width 32"):
        apply_tuner(tiny(), "reft", reft_rank=32)
