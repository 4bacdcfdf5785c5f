"""Log-probabilities from a fused head equal those from logits."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from swift.core.models.fused_head import fuse_head
from swift.core.types import IGNORE_INDEX
from swift.rlhf.logprobs import batch_logprobs


def test_values_entropies_and_gradients_equal_those_of_the_logits() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    ids = torch.randint(1, 50, (3, 9))
    labels = ids.clone()
    labels[:, :4] = IGNORE_INDEX
    labels[1, 7:] = IGNORE_INDEX
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    weight = model.model.embed_tokens.weight
    plain = batch_logprobs(model, batch, temperature=0.7, entropy=True)
    (expected,) = torch.autograd.grad(plain.values.sum(), weight)
    assert fuse_head(model) is None
    fused = batch_logprobs(model, batch, temperature=0.7, entropy=True)
    (found,) = torch.autograd.grad(fused.values.sum(), weight)
    assert plain.entropy is not None
    assert fused.entropy is not None
    torch.testing.assert_close(fused.values, plain.values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fused.entropy, plain.entropy, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert not fused.entropy.requires_grad
