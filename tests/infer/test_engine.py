"""The embedded engine against transformers' own generate and forward pass, on small random models."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from swift.core.errors import EngineError
from swift.core.models.tiny.family import tiny_tokenizer
from swift.core.protocols import Engine
from swift.core.types import GenerationRequest, SamplingParams, TokenDelta
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.engine import TransformersEngine

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 7,
}
MODELS = {
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen3-moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**SIZES, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)
    ),
    "mistral, window everywhere": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8)),
    "gemma3, window in some layers": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **{**SIZES, "num_hidden_layers": 2},
            head_dim=16,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
        )
    ),
    "llama, eager": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation="eager")),
}


def build(name: str = "qwen3", scale: float = 8.0) -> Any:
    """A random model; larger embeddings make its choices clear, so that rounding cannot turn them."""
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(scale)
    return model


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def model() -> Any:
    return build()


def prompts(count: int, seed: int = 0, shortest: int = 1, longest: int = 40) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, longest + 1, (count,), generator=generator).tolist()
    return [tuple(torch.randint(8, 320, (length,), generator=generator).tolist()) for length in lengths]


def requests(ids: Sequence[tuple[int, ...]], **sampling: Any) -> list[GenerationRequest]:
    return [GenerationRequest(str(i), one, SamplingParams(**sampling)) for i, one in enumerate(ids)]


def collect(engine: Engine, asked: Sequence[GenerationRequest]) -> dict[str, list[TokenDelta]]:
    deltas: dict[str, list[TokenDelta]] = {one.request_id: [] for one in asked}
    for delta in engine.generate(asked):
        deltas[delta.request_id].append(delta)
    return deltas


def tokens(deltas: Sequence[TokenDelta]) -> list[int]:
    return [token for delta in deltas for token in delta.token_ids]


def expected(model: Any, prompt: tuple[int, ...], count: int, stops: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, eos_token_id=stops
    )
    return output[0, len(prompt) :].tolist()  # type: ignore[no-any-return]


NARROW = {"max_running": 3, "max_batch_tokens": 16}  # long prompts in chunks, requests that wait for others


@pytest.mark.parametrize(("name", "config"), [("qwen3", {}), *((name, NARROW) for name in MODELS)])
def test_greedy_equals_generate(name: str, config: dict[str, int], tokenizer: Any) -> None:
    model = build(name)
    engine = TransformersEngine(model, tokenizer, TransformersEngineConfig(**config))
    ids = [*prompts(6), *prompts(2)]  # two prompts come twice
    answers = collect(engine, requests(ids, max_tokens=20, temperature=0.0))
    stops = [7, tokenizer.eos_token_id]
    for number, prompt in enumerate(ids):
        assert tokens(answers[str(number)]) == expected(model, prompt, 20, stops), number
    assert engine.health().running == engine.health().waiting == 0


def test_requests_join_while_others_run(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer)
    first, second = prompts(2, shortest=5)
    early = engine.generate([GenerationRequest("a", first, SamplingParams(40, 0.0, ignore_eos=True))])
    seen = [next(early), next(early)]
    late = engine.generate([GenerationRequest("b", second, SamplingParams(5, 0.0, ignore_eos=True))])
    b = list(late)
    seen += list(early)
    assert tokens(seen) == expected(model, first, 40, [])
    assert tokens(b) == expected(model, second, 5, [])


@pytest.mark.parametrize("long_first", [True, False])
def test_memory_keeps_to_its_limit_when_long_and_short_ones_meet(tokenizer: Any, long_first: bool) -> None:
    model = build()
    limit = 960  # four rows of the long one, all of the short ones
    engine = TransformersEngine(model, tokenizer, TransformersEngineConfig(max_running=30, kv_tokens=limit))
    long, short = prompts(1, seed=3, shortest=200, longest=220)[0], prompts(40, longest=8)
    ids = [long, *short] if long_first else [*short, long]
    asked = [
        GenerationRequest(str(number), one, SamplingParams(12, 0.0, ignore_eos=True))
        for number, one in enumerate(ids)
    ]
    answers: dict[str, list[int]] = {one.request_id: [] for one in asked}
    largest, most_rows = 0, 0
    for delta in engine.generate(asked):
        answers[delta.request_id] += delta.token_ids
        layer = engine._batcher._cache.layers[0]
        if layer.keys is not None:
            largest = max(largest, layer.keys.shape[0] * layer.keys.shape[2])
            most_rows = max(most_rows, layer.keys.shape[0])
    assert largest <= limit and most_rows > 4
    assert all(answers[str(number)] == expected(model, one, 12, []) for number, one in enumerate(ids))


def test_seeded_sampling_ignores_neighbours(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer)
    one = GenerationRequest("x", prompts(1, seed=5)[0], SamplingParams(20, 1.0, seed=11, ignore_eos=True))
    alone = tokens(collect(engine, [one])["x"])
    crowd = [*requests(prompts(7), max_tokens=9, temperature=1.3, top_k=9), one]
    assert tokens(collect(engine, crowd)["x"]) == alone
    other = GenerationRequest("x", one.prompt_ids, SamplingParams(20, 1.0, seed=12, ignore_eos=True))
    assert tokens(collect(engine, [other])["x"]) != alone


def test_logprobs_equal_a_forward_pass(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer)
    asked = requests(
        prompts(5), max_tokens=12, temperature=0.7, top_k=20, logprobs=3, seed=1, ignore_eos=True
    )
    answers = collect(engine, asked)
    for one in asked:
        made = tokens(answers[one.request_id])
        ids = torch.tensor([[*one.prompt_ids, *made]])
        with torch.no_grad():
            logits = model(ids).logits[0, len(one.prompt_ids) - 1 : -1].float()
        table = logits.log_softmax(-1)
        reported = [value for delta in answers[one.request_id] for value in delta.logprobs or ()]
        torch.testing.assert_close(
            torch.tensor(reported), table[range(len(made)), made], atol=2e-5, rtol=1e-5
        )
        for row, delta in enumerate(answers[one.request_id]):
            assert delta.top_logprobs is not None
            best = table[row].topk(3)
            assert list(delta.top_logprobs[0]) == best.indices.tolist()
            torch.testing.assert_close(
                torch.tensor(list(delta.top_logprobs[0].values())), best.values, atol=2e-5, rtol=1e-5
            )


def test_a_bad_request_fails_alone(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer, TransformersEngineConfig(kv_tokens=400))
    good = prompts(1)[0]
    asked = [
        GenerationRequest("good", good, SamplingParams(6, 0.0, ignore_eos=True)),
        GenerationRequest("empty", (), SamplingParams(6)),
        GenerationRequest("long", (9,) * 300, SamplingParams(6)),
        GenerationRequest("strange", (9, 999), SamplingParams(6)),
        GenerationRequest("none", good, SamplingParams(0)),
    ]
    answers = collect(engine, asked)
    assert tokens(answers["good"]) == expected(model, good, 6, [])
    problems = {name: answers[name][-1].error or "" for name in ("empty", "long", "strange", "none")}
    assert "no token" in problems["empty"]
    assert "300 tokens" in problems["long"] and "256" in problems["long"]
    assert "999" in problems["strange"] and "320" in problems["strange"]
    assert "max_tokens is 0" in problems["none"]


def test_answers_end_at_the_context(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer, max_length=20)
    deltas = collect(engine, requests([(9,) * 15], max_tokens=50, temperature=0.0, ignore_eos=True))["0"]
    assert len(tokens(deltas)) == 5 and deltas[-1].finish_reason == "length"


def test_broken_weights_are_reported(tokenizer: Any) -> None:
    broken = build()
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    deltas = collect(TransformersEngine(broken, tokenizer), requests(prompts(2), max_tokens=3))
    assert all("NaN" in (one[-1].error or "") for one in deltas.values())


def test_a_failing_step_ends_its_requests_only(tokenizer: Any) -> None:
    model = build()
    engine = TransformersEngine(model, tokenizer)

    def run_out(*_: Any) -> None:
        raise RuntimeError("out of memory")

    hook = model.model.register_forward_pre_hook(run_out)
    failed = collect(engine, requests(prompts(3), max_tokens=3))
    assert all("out of memory" in (one[-1].error or "") for one in failed.values())
    hook.remove()
    prompt = prompts(1)[0]
    answer = collect(engine, requests([prompt], max_tokens=3, temperature=0.0, ignore_eos=True))["0"]
    assert tokens(answer) == expected(model, prompt, 3, [])


def test_leaving_generate_early_aborts(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer)
    deltas = engine.generate(requests(prompts(4), max_tokens=200, ignore_eos=True))
    next(deltas)
    assert engine.health().running == 4
    deltas.close()  # type: ignore[attr-defined]
    assert engine.health().running == 0


def test_trains_between_two_generations(tokenizer: Any) -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(build(), LoraConfig(target_modules=["q_proj", "v_proj"], lora_dropout=0.5, r=4))
    model.train()
    engine = TransformersEngine(model, tokenizer)
    asked = requests(prompts(3), max_tokens=8, temperature=0.0, ignore_eos=True)
    before = collect(engine, asked)
    assert (
        model.training
        and model.base_model.model.model.layers[0].self_attn.q_proj.lora_dropout["default"].training
    )
    assert model.config._attn_implementation == "sdpa"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    engine.update_weights()
    after = collect(engine, asked)
    assert [tokens(one) for one in before.values()] != [tokens(one) for one in after.values()]
    model.eval()
    for one in asked:
        assert tokens(after[one.request_id]) == expected(model, one.prompt_ids, 8, [])
    model.train()
    model(torch.tensor([asked[0].prompt_ids])).logits.sum().backward()  # nothing was left in inference mode


def test_update_weights_by_name(tokenizer: Any) -> None:
    model, source = build(), build(scale=5.0)
    engine = TransformersEngine(model, tokenizer)
    with pytest.raises(EngineError, match="did you mean"):
        engine.update_weights([("lm_head.weigth", source.lm_head.weight)])
    with pytest.raises(EngineError, match="shape"):
        engine.update_weights([("lm_head.weight", torch.zeros(2, 2))])
    engine.update_weights(source.state_dict().items())
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_unsupported_models_are_named(tokenizer: Any) -> None:
    mamba = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4))
    with pytest.raises(EngineError, match=r"(?s)Mamba.*infer\.engine"):
        TransformersEngine(mamba, tokenizer)


def test_streams_share_one_thread(model: Any, tokenizer: Any) -> None:
    before = set(threading.enumerate())  # those of engines that other tests share

    def own() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread not in before]

    engine = TransformersEngine(model, tokenizer)
    asked = requests(prompts(8), max_tokens=16, temperature=0.0, ignore_eos=True)
    ticks = 0

    async def one(request: GenerationRequest) -> list[int]:
        return [token async for delta in engine.stream(request) for token in delta.token_ids]

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.002)
            ticks += 1

    async def everything() -> list[list[int]]:
        clock = asyncio.create_task(tick())
        answers = await asyncio.gather(*map(one, asked))
        clock.cancel()
        return answers

    answers = asyncio.run(everything())
    assert answers == [expected(model, request.prompt_ids, 16, []) for request in asked]
    assert ticks > 5  # the event loop was never blocked by the model
    assert own().count("swift-engine") == 1
    engine.close()
    engine.close()
    assert "swift-engine" not in own()
    with pytest.raises(EngineError, match="closed"):
        list(engine.generate(asked))


def test_generate_and_stream_together(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer)
    streamed = GenerationRequest("s", prompts(1, seed=3)[0], SamplingParams(60, 0.0, ignore_eos=True))

    async def run() -> list[int]:
        return [token async for delta in engine.stream(streamed) for token in delta.token_ids]

    answers: list[list[int]] = []
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(run())))
    thread.start()
    asked = requests(prompts(4), max_tokens=30, temperature=0.0, ignore_eos=True)
    direct = collect(engine, asked)
    thread.join()
    engine.close()
    assert answers[0] == expected(model, streamed.prompt_ids, 60, [])
    for one in asked:
        assert tokens(direct[one.request_id]) == expected(model, one.prompt_ids, 30, [])


def test_leaving_a_stream_frees_its_row(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer)

    async def run() -> None:
        stream = engine.stream(GenerationRequest("s", prompts(1)[0], SamplingParams(200, ignore_eos=True)))
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
        for _ in range(500):
            if engine.health().running == 0:
                break
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert engine.health().running == 0
    engine.close()


def test_close_fails_what_runs(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer)

    async def run() -> TokenDelta:
        last = TokenDelta("s")
        async for delta in engine.stream(
            GenerationRequest("s", prompts(1)[0], SamplingParams(200, ignore_eos=True))
        ):
            if not last.token_ids:
                await asyncio.get_running_loop().run_in_executor(None, engine.close)
            last = delta
        return last

    last = asyncio.run(run())
    assert last.finish_reason == "error" and "closed" in (last.error or "")
    assert not engine.health().ready


def test_stop_strings_and_text(tokenizer: Any) -> None:
    from swift.core.config.schema import ModelConfig
    from swift.core.models.load import load_model

    model = load_model(
        ModelConfig.model_validate({"model_id": "tiny/llama"}), dtype=torch.float32, device="cpu"
    )
    engine = TransformersEngine(model, tokenizer)
    prompt = tuple(tokenizer("Once upon a time")["input_ids"])
    asked = requests([prompt], max_tokens=40, temperature=1.0, seed=3, ignore_eos=True)
    free = collect(engine, asked)["0"]
    whole = tokenizer.decode(tokens(free), skip_special_tokens=True)
    text = "".join(delta.text for delta in free)
    assert text == whole.rstrip("\ufffd")
    stop = text[20:24]
    cut = collect(
        engine, requests([prompt], max_tokens=40, seed=3, ignore_eos=True, stop=("never there", stop))
    )["0"]
    assert "".join(delta.text for delta in cut) == text[: text.index(stop)]
    assert cut[-1].finish_reason == "stop"
