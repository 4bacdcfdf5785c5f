"""An engine that holds weights of its own follows the policy: its log-probabilities are the model's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from swift.core.types import GenerationRequest, SamplingParams
from swift.rlhf.rollout.policy import Policy
from swift.tuners import apply_tuner, save_tuner

IDS = tuple(range(20, 60))
SAMPLING = SamplingParams(max_tokens=24, temperature=1.0, logprobs=0, seed=3, ignore_eos=True)


@pytest.fixture
def engine(vllm_engine: Any, tiny_model_dir: Path) -> Iterator[Any]:
    """vLLM, with its own weights and no adapters afterwards."""
    yield vllm_engine
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    vllm_engine.update_weights(base.named_parameters())
    for name in vllm_engine.facts().adapters:
        vllm_engine.unload_adapter(name)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("alone", [True, False], ids=["adapter", "all weights"])
def test_the_engine_follows_the_policy(engine: Any, tiny_model_dir: Path, alone: bool) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    model = apply_tuner(base, "lora", lora_rank=4)
    policy = Policy(engine, save_tuner if alone else None)
    for step in range(2):
        torch.manual_seed(step)
        with torch.no_grad():
            for weight in filter(lambda each: each.requires_grad, model.parameters()):
                weight.add_(torch.randn_like(weight) * 0.05)
        policy.follow(model)
        deltas = list(policy.generate([GenerationRequest(f"step {step}", IDS, SAMPLING)]))
        tokens = [token for delta in deltas for token in delta.token_ids]
        drawn = [value for delta in deltas for value in delta.logprobs or ()]
        with torch.no_grad():
            logits = model.eval()(torch.tensor([[*IDS, *tokens]])).logits[0, len(IDS) - 1 : -1].float()
        expected = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])[:, 0]
        assert drawn == pytest.approx(expected.tolist(), abs=1e-3)
    assert engine.facts().adapters == (("policy",) if alone else ())
