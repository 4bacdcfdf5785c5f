"""vLLM reads the adapters that are written here, also those with a start of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from swift.tuners import apply_tuner, save_tuner

IDS = list(range(20, 60))
METHODS = ("lora", "pissa")
ENGINE = """
import json, os, sys
os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

if __name__ == "__main__":
    base, output, ids, adapters = json.loads(sys.argv[1])
    llm = LLM(base, enable_lora=True, max_lora_rank=8, max_loras=2, enforce_eager=True, dtype="float32",
              max_model_len=128)
    greedy = SamplingParams(max_tokens=1, prompt_logprobs=0, temperature=0)
    found = {}
    for number, folder in enumerate(adapters, start=1):
        adapter = LoRARequest(folder, number, folder)
        result = llm.generate([{"prompt_token_ids": ids}], greedy, lora_request=adapter)[0]
        found[folder] = [result.prompt_logprobs[i][ids[i]].logprob for i in range(1, len(ids))]
    open(output, "w").write(json.dumps(found))
"""


def logprobs(model: Any) -> list[float]:
    """Of each prompt token but the first, given those before it."""
    with torch.no_grad():
        logits = model.eval()(torch.tensor([IDS])).logits.float()
    chosen = torch.log_softmax(logits[0, :-1], -1).gather(1, torch.tensor(IDS[1:])[:, None])
    values: list[float] = chosen[:, 0].tolist()
    return values


@pytest.mark.timeout(300)
def test_vllm_computes_what_the_adapted_model_computes(tiny_model_dir: Path, tmp_path: Path) -> None:
    base = logprobs(AutoModelForCausalLM.from_pretrained(tiny_model_dir))
    wanted = {}
    for name in METHODS:
        model = apply_tuner(AutoModelForCausalLM.from_pretrained(tiny_model_dir), name, lora_rank=4)
        torch.manual_seed(1)
        with torch.no_grad():
            for weight in filter(lambda each: each.requires_grad, model.parameters()):
                weight.add_(torch.randn_like(weight) * 0.05)
        folder = tmp_path / name
        save_tuner(model, folder)
        wanted[str(folder)] = logprobs(model)
    output = tmp_path / "found.json"
    given = json.dumps([str(tiny_model_dir), str(output), IDS, list(wanted)])
    script = tmp_path / "engine.py"
    script.write_text(ENGINE, encoding="utf-8")
    ended = subprocess.run([sys.executable, str(script), given], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-4000:]
    found = json.loads(output.read_text(encoding="utf-8"))
    for adapter, values in wanted.items():
        assert found[adapter] == pytest.approx(values, abs=1e-4)
        assert max(abs(one - other) for one, other in zip(values, base, strict=True)) > 0.5
