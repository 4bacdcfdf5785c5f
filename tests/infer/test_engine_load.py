"""The embedded engine with many requests, long prompts and prompts that begin alike."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from swift.core.models.tiny.family import tiny_tokenizer
from swift.core.types import GenerationRequest, SamplingParams, TokenDelta
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.engine import TransformersEngine
from swift.infer.engines.transformers.pages import PAGE, PagedCache
from swift.infer.engines.transformers.prefixes import Prefixes, shared
from swift.infer.engines.transformers.sequence import Prompt
from swift.kernels import native_available

CONTEXT = 4096


@pytest.fixture(scope="module")
def model(fresh: Any) -> Any:
    return fresh()


@pytest.fixture(scope="module")
def fresh(random_qwen3: Any) -> Any:
    """Makes a random model of clear choices and a long context."""
    return lambda: random_qwen3(scale=8.0, max_position_embeddings=CONTEXT, pad_token_id=0, eos_token_id=7)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def prompts(count: int, length: int, seed: int = 0) -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return [tuple(one) for one in torch.randint(8, 320, (count, length), generator=generator).tolist()]


def asked(ids: Sequence[tuple[int, ...]], count: int, name: str = "") -> list[GenerationRequest]:
    sampling = SamplingParams(count, temperature=0.0, ignore_eos=True)
    return [GenerationRequest(f"{name}{number}", one, sampling) for number, one in enumerate(ids)]


def answers(engine: TransformersEngine, requests: Sequence[GenerationRequest]) -> dict[str, list[int]]:
    made: dict[str, list[int]] = {one.request_id: [] for one in requests}
    for delta in engine.generate(requests):
        assert delta.error is None, delta.error
        made[delta.request_id] += delta.token_ids
    return made


def greedy(model: Any, prompt: tuple[int, ...], count: int) -> list[int]:
    ids = torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, eos_token_id=-1
    )
    return output[0, len(prompt) :].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("paged", [False, True])
def test_256_sequences_run_together(model: Any, tokenizer: Any, paged: bool) -> None:
    engine = TransformersEngine(model, tokenizer, TransformersEngineConfig(paged=paged))
    requests = asked(prompts(256, 12), 24)
    made: dict[str, list[int]] = {one.request_id: [] for one in requests}
    together = 0
    for delta in engine.generate(requests):
        made[delta.request_id] += delta.token_ids
        together = max(together, len(engine._batcher.rows))
    assert together == 256
    for number in range(0, 256, 37):
        assert made[str(number)] == greedy(model, requests[number].prompt_ids, 24)
    assert all(len(tokens) == 24 for tokens in made.values())


def test_a_thousand_streams_in_bounded_memory(model: Any, tokenizer: Any) -> None:
    limit = 64 * PAGE
    engine = TransformersEngine(model, tokenizer, TransformersEngineConfig(kv_tokens=limit))
    requests = asked(prompts(1000, 10), 6)
    largest = 0

    async def one(request: GenerationRequest) -> list[int]:
        nonlocal largest
        made: list[int] = []
        async for delta in engine.stream(request):
            assert delta.error is None
            made += delta.token_ids
            keys = engine._batcher._cache.layers[0].keys
            if keys is not None:
                largest = max(largest, keys.shape[0] * keys.shape[2])
        return made

    async def everything() -> list[list[int]]:
        return await asyncio.gather(*map(one, requests))

    made = asyncio.run(everything())
    engine.close()
    assert all(len(tokens) == 6 for tokens in made) and len(made) == 1000
    assert 0 < largest <= limit
    assert made[999] == greedy(model, requests[999].prompt_ids, 6)
    assert engine.health().running == engine.health().waiting == 0


def test_a_long_prompt_lets_others_go_on(model: Any, tokenizer: Any) -> None:
    """Running answers gain tokens, and later short prompts are read and answered, while it is read."""
    engine = TransformersEngine(model, tokenizer, TransformersEngineConfig(max_batch_tokens=256))
    long = prompts(1, 3000, seed=1)[0]
    running = engine.generate(asked(prompts(2, 8), 300, "running"))
    next(running)
    steps, short_done = 0, 0
    box: deque[TokenDelta] = deque()
    engine._submit(asked([long], 4, "long")[0], box)
    short = engine.generate(asked(prompts(3, 8, seed=2), 5, "short"))
    for delta in short:
        assert not box  # the long one is still being read
        short_done += delta.finish_reason is not None
    for _ in running:
        steps += not box
    assert short_done == 3
    assert steps > 20
    assert [token for delta in box for token in delta.token_ids] == greedy(model, long, 4)


def test_a_long_answer_does_not_widen_the_others(model: Any, tokenizer: Any) -> None:
    if not native_available():
        pytest.skip("swift.kernels._native is not built here")
    room = CONTEXT + 64 * PAGE
    engine = TransformersEngine(
        model, tokenizer, TransformersEngineConfig(kv_tokens=room, max_batch_tokens=4096)
    )
    requests = asked([prompts(1, 4000)[0], *prompts(60, 8)], 20)
    together = 0
    made: dict[str, list[int]] = {one.request_id: [] for one in requests}
    for delta in engine.generate(requests):
        made[delta.request_id] += delta.token_ids
        together = max(together, len(engine._batcher.rows))
    assert isinstance(engine._batcher._cache, PagedCache)
    assert together == 61  # rows of one width would take 61 times the long one's room
    assert made["0"] == greedy(model, requests[0].prompt_ids, 20)
    assert made["60"] == greedy(model, requests[60].prompt_ids, 20)


def counted(model: Any) -> list[int]:
    """Prompt tokens that the model reads from now on, a number for each pass."""
    read: list[int] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs["input_ids"]
        if ids.shape[1] > 1:
            read.append(ids.numel())

    model.model.register_forward_pre_hook(note, with_kwargs=True)
    return read


def test_prompts_that_begin_alike_are_read_once(fresh: Any, tokenizer: Any) -> None:
    model = fresh()
    system = prompts(1, 400)[0]
    ids = [system + one for one in prompts(6, 20, seed=3)]
    without = answers(
        TransformersEngine(model, tokenizer, TransformersEngineConfig(prefix_tokens=0)), asked(ids, 12)
    )
    engine = TransformersEngine(model, tokenizer)
    read = counted(model)
    together = answers(engine, asked(ids, 12))
    assert together == without
    assert sum(read) < 420 + 5 * 60  # the first prompt, then what the others do not share with it
    read.clear()
    later = [system + one for one in prompts(2, 20, seed=4)]
    assert answers(engine, asked(later, 12)) == {
        str(number): greedy(model, one, 12) for number, one in enumerate(later)
    }
    assert sum(read[:1]) < 2 * 60


@pytest.mark.parametrize("told", [True, False])
def test_changed_weights_leave_no_prefix_behind(fresh: Any, tokenizer: Any, told: bool) -> None:
    model = fresh()
    engine = TransformersEngine(model, tokenizer)
    ids = [prompts(1, 100)[0]]
    answers(engine, asked(ids, 8))
    before = greedy(model, ids[0], 8)
    with torch.no_grad():
        torch.manual_seed(5)
        for layer in model.model.layers:
            layer.self_attn.v_proj.weight.normal_(std=0.3)
    if told:
        engine.update_weights()
    after = greedy(model, ids[0], 8)
    assert after != before
    assert answers(engine, asked(ids, 8))["0"] == after


def test_prefixes_keep_to_their_limit_and_forget_the_oldest(model: Any) -> None:
    def read(prompt: Prompt) -> Any:
        cache = Prefixes(0).start([], 0)
        cache.update(torch.zeros(1, 2, len(prompt.tokens), 4), torch.zeros(1, 2, len(prompt.tokens), 4), 0)
        return cache

    prefixes = Prefixes(tokens=250)
    first, second, third = (Prompt(one, None, b"") for one in prompts(3, 100))
    for one in (first, second):
        prefixes.keep(one, read(one), 0)
    assert prefixes.known(first) == 96 and prefixes.known(second) == 96
    prefixes.start([first], 96)  # used: the second one is the oldest now
    prefixes.keep(third, read(third), 0)
    assert (prefixes.known(first), prefixes.known(second), prefixes.known(third)) == (96, 0, 96)
    longer = Prompt((*third.tokens, 9, 9), None, b"")
    prefixes.keep(longer, read(longer), 0)
    assert prefixes._held == 202  # it took the place of the one that it continues
    prefixes.clear()
    assert prefixes.known(first) == 0


def test_what_prompts_share() -> None:
    tokens = prompts(1, 50)[0]
    one = Prompt(tokens, None, b"")
    assert shared(one, one) == 50
    assert shared(one, Prompt((*tokens[:30], 1, *tokens[31:]), None, b"")) == 30
    assert shared(one, Prompt((1, *tokens), None, b"")) == 0
    assert shared(one, Prompt(tokens, None, b"image")) == 0
