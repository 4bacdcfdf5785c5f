"""Attention over boundaries: packed equals unpacked, everything else equals sdpa, nothing is quadratic."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3NextConfig, Qwen3NextForCausalLM

from swift.core.config.schema import ModelConfig
from swift.core.errors import ModelError
from swift.core.models.attention import (
    check_varlen,
    register_varlen_attention,
    supports_varlen,
    varlen_attention,
    varlen_mask,
)
from swift.core.models.load import load_model
from swift.core.models.segments import attend_segments

LENGTHS = [5, 33, 1, 90, 12, 1, 2]
FAMILIES = ["qwen3", "llama", "qwen3-moe", "gemma3", "phi3"]


def model_of(family, attention="swift_varlen"):
    config = ModelConfig(model_id=f"tiny/{family}", attn_implementation=attention)
    return load_model(config, dtype=torch.float32, device="cpu")


def sequences(lengths=LENGTHS):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 2000, (length,), generator=generator) for length in lengths]


def packed(samples):
    """The flat layout: positions restart, and so do labels."""
    lengths = torch.tensor([len(sample) for sample in samples])
    boundaries = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]).to(torch.int32)
    return {
        "input_ids": torch.cat(samples)[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths.tolist()])[None],
        "cu_seq_lens_q": boundaries,
        "cu_seq_lens_k": boundaries,
        "max_length_q": int(lengths.max()),
        "max_length_k": int(lengths.max()),
        "use_cache": False,
    }


def summed_loss(logits, tokens):
    return torch.nn.functional.cross_entropy(logits[:-1], tokens[1:], reduction="sum")


@pytest.mark.parametrize("given", ["positions and boundaries", "positions", "boundaries"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_equals_unpacked(family, given):
    model, samples = model_of(family), sequences()
    alone = [model(input_ids=sample[None], use_cache=False).logits[0] for sample in samples]
    loss = torch.stack(
        [summed_loss(logits, sample) for logits, sample in zip(alone, samples, strict=True)]
    ).sum()
    count = sum(len(sample) - 1 for sample in samples)
    (loss / count).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    batch = packed(samples)
    if given == "positions":
        batch = {key: batch[key] for key in ("input_ids", "position_ids", "use_cache")}
    elif given == "boundaries":
        del batch["position_ids"]
        if family == "gemma3":
            with pytest.raises(ModelError, match="boundaries that the attention mask does not have"):
                model(**batch)
            return
    logits = model(**batch).logits[0]
    parts = logits.split(LENGTHS)
    again = torch.stack(
        [summed_loss(part, sample) for part, sample in zip(parts, samples, strict=True)]
    ).sum()
    (again / count).backward()

    expected = torch.cat(alone)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    torch.testing.assert_close(again / count, loss / count, rtol=0, atol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_mixing_sequences_would_be_seen(family):
    model, samples = model_of(family), sequences()
    batch = packed(samples)
    right = model(**batch).logits
    wrong = model(input_ids=batch["input_ids"], use_cache=False).logits
    assert (right - wrong).abs().max() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_other_batches_equal_sdpa(family):
    ours, theirs = model_of(family), model_of(family, "sdpa")
    samples = sequences([70, 100])
    tokens = torch.zeros(2, 100, dtype=torch.long)
    mask = torch.zeros(2, 100, dtype=torch.long)
    tokens[0, 30:], mask[0, 30:] = samples[0], 1
    tokens[1], mask[1] = samples[1], 1
    with torch.no_grad():
        for keys in ({"attention_mask": mask}, {}):
            assert torch.equal(ours(input_ids=tokens, **keys).logits, theirs(input_ids=tokens, **keys).logits)
        arguments = {"attention_mask": mask, "max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
        assert torch.equal(ours.generate(tokens, **arguments), theirs.generate(tokens, **arguments))


def test_gradient_checkpointing_keeps_boundaries():
    model, batch = model_of("qwen3"), packed(sequences())
    model.train()
    model(**batch).logits.square().mean().backward()
    plain = model.model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model(**batch).logits.square().mean().backward()
    torch.testing.assert_close(model.model.layers[0].mlp.up_proj.weight.grad, plain, rtol=0, atol=1e-7)


@pytest.mark.parametrize("window", [None, 1, 7, 40])
def test_segments_equal_the_formula(window):
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 60, 16, dtype=torch.float64) for heads in (4, 2, 2))
    boundaries = [0, 8, 9, 60]
    segment = torch.repeat_interleave(torch.arange(3), torch.tensor([8, 1, 51]))
    distance = torch.arange(60)[:, None] - torch.arange(60)[None, :]
    seen = (segment[:, None] == segment[None, :]) & (distance >= 0) & (distance < (window or 60))
    scores = query @ key.repeat_interleave(2, 1).transpose(2, 3) * 0.3
    expected = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value.repeat_interleave(2, 1)
    actual = attend_segments(query, key, value, boundaries, scaling=0.3, sliding_window=window)
    torch.testing.assert_close(actual, expected.transpose(1, 2), rtol=0, atol=1e-12)


def test_mask_of_a_causal_row_that_is_not_packed_is_sdpas():
    from transformers.masking_utils import causal_mask_function, sdpa_mask

    sizes: Any = {"batch_size": 1, "q_length": 6, "kv_length": 6, "mask_function": causal_mask_function}
    assert varlen_mask(**sizes) is None
    forced = varlen_mask(**sizes, allow_is_causal_skip=False)
    assert forced is not None and torch.equal(forced, sdpa_mask(**sizes, allow_is_causal_skip=False))


def test_scores_that_sdpa_does_not_know_are_refused():
    query, boundaries = torch.randn(1, 2, 4, 8), torch.tensor([0, 2, 4], dtype=torch.int32)
    with pytest.raises(ModelError, match="softcap"):
        varlen_attention(torch.nn.Module(), query, query, query, boundaries, softcap=50.0)


def test_recurrent_models_are_refused():
    assert supports_varlen(model_of("qwen3"))
    hybrid = Qwen3NextForCausalLM(
        Qwen3NextConfig(
            vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=4, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, num_experts=2, num_experts_per_tok=1,
            moe_intermediate_size=16, shared_expert_intermediate_size=16,
            linear_num_key_heads=1, linear_num_value_heads=2,
            linear_key_head_dim=16, linear_value_head_dim=16,
        )
    )  # fmt: skip
    assert not supports_varlen(hybrid)
    with pytest.raises(ModelError, match="linear_attention"):
        check_varlen(hybrid)


def test_registering_twice_changes_nothing():
    register_varlen_attention()
    register_varlen_attention()
    assert model_of("llama").config._attn_implementation == "swift_varlen"


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation has put out, forward or backward."""

    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        output = function(*arguments, **(keywords or {}))
        for tensor in output if isinstance(output, tuple | list) else (output,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return output


@pytest.mark.parametrize("attention", ["swift_varlen", "sdpa"])
def test_no_quadratic_tensor_exists(attention):
    register_varlen_attention()
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    segments, length = 64, 64
    total = segments * length
    positions = torch.arange(length).repeat(segments)[None]
    tokens = torch.zeros(1, total, dtype=torch.long)
    with LargestTensor() as largest:
        model(input_ids=tokens, position_ids=positions, use_cache=False).logits.sum().backward()
    if attention == "sdpa":  # the measure sees what it is meant to see
        assert largest.elements >= total * total
    else:
        assert largest.elements <= total * config.vocab_size
