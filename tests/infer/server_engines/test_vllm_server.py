"""vLLM as a real server process on CPU: one start for all, killed at the end; needs a vLLM in this Python.

It takes about a minute of two cores, so it runs with SWIFT_TEST_VLLM_SERVER=1 only:
    SWIFT_TEST_VLLM_SERVER=1 pytest tests/infer/server_engines/test_vllm_server.py
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file

from swift.core.config.schema import ModelConfig
from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.core.models.load import load_model
from swift.core.types import Constraint, GenerationRequest, SamplingParams, TokenDelta
from swift.infer.engines.process.guard import descendants
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.engines.vllm.server import VllmServerEngine

pytestmark = pytest.mark.skipif(
    not os.environ.get("SWIFT_TEST_VLLM_SERVER") or importlib.util.find_spec("vllm") is None,
    reason="starts a vLLM server: set SWIFT_TEST_VLLM_SERVER=1 where vLLM is installed",
)
PROMPT = (11, 25, 60, 7)


@pytest.fixture(scope="module")
def adapters(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two LoRA adapters of the tiny model, strong enough to change what is greedy."""
    from peft import LoraConfig, get_peft_model

    folders = {}
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        model = load_model(ModelConfig(model_id=str(tiny_model_dir)), dtype=torch.float32, device="cpu")
        wrapped = get_peft_model(
            model, LoraConfig(r=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        )
        folders[name] = tmp_path_factory.mktemp(name)
        wrapped.save_pretrained(str(folders[name]))
    return folders


@pytest.fixture(scope="module")
def engine(tiny_model_dir: Path, adapters: dict[str, Path]) -> Iterator[VllmServerEngine]:
    source = EngineSource(
        str(tiny_model_dir), adapters={"one": adapters["one"]}, device="cpu", max_length=256
    )
    config = VllmEngineConfig(server=True, kv_cache_gb=0.5, max_running=16, max_loras=2, start_timeout=400)
    built = VllmServerEngine(source, config=config)
    yield built
    built.close()
    assert not built.health().ready


def answer(engine: VllmServerEngine, sampling: SamplingParams, **changes: Any) -> list[TokenDelta]:
    return list(engine.generate([GenerationRequest("r", PROMPT, sampling, **changes)]))


def tokens(deltas: list[TokenDelta]) -> list[int]:
    return [token for delta in deltas for token in delta.token_ids]


def test_tokens_and_logprobs_are_the_models(engine: VllmServerEngine, tiny_model_dir: Path) -> None:
    deltas = answer(engine, SamplingParams(8, temperature=0.0, logprobs=2, ignore_eos=True))
    drawn = tokens(deltas)
    assert len(drawn) == 8 and deltas[-1].finish_reason == "length"
    model = load_model(ModelConfig(model_id=str(tiny_model_dir)), dtype=torch.float32, device="cpu").eval()
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPT, *drawn]])).logits[0, len(PROMPT) - 1 : -1]
    expected = torch.log_softmax(logits, -1)[torch.arange(8), torch.tensor(drawn)]
    told = torch.tensor([value for delta in deltas for value in delta.logprobs or ()])
    torch.testing.assert_close(told, expected, atol=2e-3, rtol=0)
    tops = [top for delta in deltas for top in delta.top_logprobs or ()]
    assert all(len(top) == 2 and token in top for top, token in zip(tops, drawn, strict=True))  # greedy


def test_seeds_stops_and_constraints(engine: VllmServerEngine) -> None:
    drawn = [tokens(answer(engine, SamplingParams(12, seed=5, ignore_eos=True))) for _ in range(2)]
    assert drawn[0] == drawn[1] != tokens(answer(engine, SamplingParams(12, seed=6, ignore_eos=True)))
    choice = Constraint("choice", '["yes", "no (a.b)"]')
    assert "".join(d.text for d in answer(engine, SamplingParams(20, constraint=choice))) in (
        "yes",
        "no (a.b)",
    )
    free = answer(engine, SamplingParams(12, seed=5, ignore_eos=True))
    text = "".join(delta.text for delta in free)
    stop = text[len(text) // 2 :][:2]
    stopped = answer(engine, SamplingParams(12, seed=5, stop=(stop,), ignore_eos=True))
    assert "".join(d.text for d in stopped) == text[: text.index(stop)]
    assert stopped[-1].finish_reason == "stop"


def test_adapters_come_and_go(engine: VllmServerEngine, adapters: dict[str, Path]) -> None:
    greedy = SamplingParams(8, temperature=0.0, ignore_eos=True)
    base, one = tokens(answer(engine, greedy)), tokens(answer(engine, greedy, adapter="one"))
    assert base != one
    engine.load_adapter("other", adapters["two"])
    two = tokens(answer(engine, greedy, adapter="other"))
    assert two not in (base, one) and engine.facts().adapters == ("one", "other")
    engine.load_adapter("other", adapters["one"])  # replaced: not answered from the old one's cache
    assert tokens(answer(engine, greedy, adapter="other")) == one
    engine.unload_adapter("other")
    assert answer(engine, greedy, adapter="other")[-1].finish_reason == "error"
    with pytest.raises(EngineError, match="no adapter 'other'"):
        engine.unload_adapter("other")
    with pytest.raises(EngineError, match="adapter_config"):
        engine.load_adapter("none", adapters["one"].parent)


def test_nobody_without_the_secret_is_answered(engine: VllmServerEngine) -> None:
    for path in ("/v1/models", "/collective_rpc", "/reset_prefix_cache", "/server_info"):
        for headers in ({}, {"Authorization": "Bearer guess"}):
            answer = httpx.post(f"{engine.server.base_url}{path}", headers=headers, trust_env=False)
            assert answer.status_code == 401, path
    assert httpx.get(f"{engine.server.base_url}/health", trust_env=False).status_code == 200


def test_a_wrong_request_is_blamed_on_itself(engine: VllmServerEngine) -> None:
    wrong = Constraint("regex", "(unclosed")
    (delta,) = answer(engine, SamplingParams(4, constraint=wrong))
    assert delta.finish_reason == "error" and delta.refused


def test_too_long_is_said(engine: VllmServerEngine) -> None:
    long = GenerationRequest("long", tuple([5] * 300), SamplingParams(8))
    (delta,) = engine.generate([long])
    assert delta.finish_reason == "error" and "256" in (delta.error or "")
    assert "shorten the prompt" in (delta.error or "")


def test_kill_and_restart(engine: VllmServerEngine) -> None:
    """kill -9 in the middle of a stream: a clean error, no orphan; restart() brings back the adapters too."""
    asyncio.run(kill_and_restart(engine))


async def kill_and_restart(engine: VllmServerEngine) -> None:
    deltas = []
    below = descendants(engine.process.pid)
    async for delta in engine.stream(GenerationRequest("k", PROMPT, SamplingParams(200, ignore_eos=True))):
        deltas.append(delta)
        if len(deltas) == 2:
            os.kill(below[0], signal.SIGKILL)
    assert deltas[-1].finish_reason == "error" and "SIGKILL" in (deltas[-1].error or "")
    health = engine.health()
    assert not health.ready and "SIGKILL" in health.detail and health.running == 0
    with pytest.raises(EngineError, match="not ready"):
        await anext(engine.stream(GenerationRequest("k2", PROMPT, SamplingParams(2))))
    deadline = time.monotonic() + 10
    while any(alive(process) for process in below):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    await asyncio.to_thread(engine.restart)
    assert engine.health().ready
    stream: AsyncGenerator[TokenDelta, None] = engine.stream(
        GenerationRequest("k3", PROMPT, SamplingParams(3, ignore_eos=True), adapter="one")
    )
    assert len(tokens([delta async for delta in stream])) == 3


def test_new_weights_which_no_restart_brings_back(engine: VllmServerEngine, tiny_model_dir: Path) -> None:
    """Beside a request that runs: it keeps its tokens and goes on with the new ones."""
    weights = load_file(tiny_model_dir / "model.safetensors")
    greedy = SamplingParams(40, temperature=0.0, logprobs=0, ignore_eos=True)
    before = tokens(answer(engine, greedy))
    torch.manual_seed(3)
    changed = {name: value + torch.randn_like(value) * 0.05 for name, value in weights.items()}
    running = engine.generate([GenerationRequest("running", PROMPT, greedy)])
    first = next(running)
    engine.update_weights(changed.items())
    rest = [first, *running]
    assert rest[-1].finish_reason == "length" and len(tokens(rest)) == 40
    after = tokens(answer(engine, greedy))
    assert after != before
    with pytest.raises(EngineError, match="cannot be started anew"):
        engine.restart()
    with pytest.raises(EngineError, match="shares no tensors"):
        engine.update_weights()
    engine.update_weights(weights.items())
    assert tokens(answer(engine, greedy)) == before


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
