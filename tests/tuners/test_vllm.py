"""vLLM reads the adapters that are written here, also those with a start of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from swift.core.types import GenerationRequest, SamplingParams
from swift.tuners import apply_tuner, save_tuner

IDS = tuple(range(20, 60))
GREEDY = SamplingParams(max_tokens=24, temperature=0.0, logprobs=0, ignore_eos=True)


def answered(engine: Any, name: str) -> tuple[list[int], list[float]]:
    """Greedy tokens with an adapter, and their log-probabilities."""
    deltas = list(engine.generate([GenerationRequest(name, IDS, GREEDY, adapter=name)]))
    assert deltas[-1].finish_reason == "length", deltas[-1]
    tokens = [token for delta in deltas for token in delta.token_ids]
    return tokens, [value for delta in deltas for value in delta.logprobs or ()]


def logprobs(model: Any, tokens: Sequence[int]) -> list[float]:
    """Of each token of an answer, given those before it."""
    with torch.no_grad():
        logits = model.eval()(torch.tensor([[*IDS, *tokens]])).logits[0, len(IDS) - 1 : -1].float()
    chosen = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None])
    values: list[float] = chosen[:, 0].tolist()
    return values


@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", ["lora", "pissa"])
def test_vllm_computes_what_the_adapted_model_computes(
    vllm_engine: Any, tiny_model_dir: Path, tmp_path: Path, method: str
) -> None:
    model = apply_tuner(AutoModelForCausalLM.from_pretrained(tiny_model_dir), method, lora_rank=4)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in filter(lambda each: each.requires_grad, model.parameters()):
            weight.add_(torch.randn_like(weight) * 0.05)
    save_tuner(model, tmp_path)
    vllm_engine.load_adapter(method, tmp_path)
    tokens, found = answered(vllm_engine, method)
    vllm_engine.unload_adapter(method)
    assert found == pytest.approx(logprobs(model, tokens), abs=1e-3)
    base = logprobs(AutoModelForCausalLM.from_pretrained(tiny_model_dir), tokens)
    assert max(abs(one - other) for one, other in zip(found, base, strict=True)) > 0.5
