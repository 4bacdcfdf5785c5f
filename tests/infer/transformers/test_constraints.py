"""Constrained answers of the embedded engine, judged by jsonschema, re and json."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import torch

from swift.core.models.tiny.family import tiny_tokenizer
from swift.core.types import Constraint, GenerationRequest, SamplingParams, TokenDelta
from swift.infer.constraints import KINDS
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.transformers.engine import TransformersEngine

PROMPT = (20, 21, 22)
PADDING = 40  # rows of the model's vocabulary that the tokenizer has no token for
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "mood": {"enum": ["good", "bad", None]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 2},
    },
    "required": ["name", "age", "mood", "tags"],
    "$defs": {"tag": {"type": "string", "pattern": "^[a-z]{1,3}$"}},
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def model(random_qwen3: Any, tokenizer: Any) -> Any:
    return random_qwen3(vocab_size=len(tokenizer) + PADDING, max_position_embeddings=1024)


@pytest.fixture(scope="module")
def engine(model: Any, tokenizer: Any) -> TransformersEngine:
    return TransformersEngine(model, tokenizer)


def collect(engine: TransformersEngine, asked: Sequence[GenerationRequest]) -> dict[str, list[TokenDelta]]:
    found: dict[str, list[TokenDelta]] = {one.request_id: [] for one in asked}
    for delta in engine.generate(asked):
        found[delta.request_id].append(delta)
    return found


def text_of(deltas: Sequence[TokenDelta]) -> str:
    return "".join(delta.text for delta in deltas)


def follows_schema(text: str) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))


def is_object(text: str) -> None:
    assert isinstance(json.loads(text), dict)


def matches(pattern: str) -> Callable[[str], None]:
    def judge(text: str) -> None:
        assert re.fullmatch(pattern, text), text

    return judge


DATE = r"(19|20)\d{2}-(0[1-9]|1[0-2]).{0,3}"
CASES: dict[str, tuple[Constraint, Callable[[str], None]]] = {
    "schema": (Constraint("json_schema", json.dumps(SCHEMA)), follows_schema),
    "object": (Constraint("json_object"), is_object),
    "regex": (Constraint("regex", DATE), matches(DATE)),
    "choice": (Constraint("choice", '["yes", "no, thanks", "\\u00e9t\\u00e9 \\"1\\""]'),
               matches('yes|no, thanks|été "1"')),
    "grammar": (Constraint("grammar", 'root ::= "(" root ")" | "x"'), matches(r"\(*x\)*")),
}  # fmt: skip


def test_every_kind_is_offered(engine: TransformersEngine) -> None:
    assert engine.facts().constraints == KINDS == {case.kind for case, _ in CASES.values()}


def test_answers_match_over_seeds_and_leave_free_rows_alone(engine: TransformersEngine) -> None:
    asked = [
        GenerationRequest(
            f"{name}/{seed}", PROMPT, SamplingParams(400, 0.9, seed=seed, constraint=constraint)
        )
        for name, (constraint, _) in CASES.items()
        for seed in range(6)
    ]
    free = [
        GenerationRequest(f"free/{seed}", PROMPT, SamplingParams(24, 1.0, seed=seed)) for seed in range(4)
    ]
    alone = collect(engine, free)
    found = collect(engine, [*asked, *free])
    complete = 0
    for request in asked:
        deltas = found[request.request_id]
        if deltas[-1].finish_reason == "length" and request.request_id.startswith(("object", "schema")):
            continue  # a random model may write on and on; what it wrote is a beginning
        assert deltas[-1].finish_reason == "stop", (request.request_id, deltas[-1].error)
        CASES[request.request_id.partition("/")[0]][1](text_of(deltas))
        complete += 1
    assert complete >= 24
    for request in free:
        assert text_of(found[request.request_id]) == text_of(alone[request.request_id])


def test_greedy_and_ignore_eos_end_where_the_grammar_ends(engine: TransformersEngine, tokenizer: Any) -> None:
    params = SamplingParams(40, 0.0, ignore_eos=True, constraint=Constraint("regex", "[ab]{3}"))
    deltas = collect(engine, [GenerationRequest("a", PROMPT, params)])["a"]
    assert re.fullmatch("[ab]{3}", text_of(deltas))
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].token_ids == (tokenizer.eos_token_id,)


def test_logprobs_are_those_of_the_free_model(model: Any, engine: TransformersEngine) -> None:
    params = SamplingParams(8, 0.0, logprobs=0, constraint=Constraint("regex", "[0-9]{4}"))
    deltas = collect(engine, [GenerationRequest("a", PROMPT, params)])["a"]
    answer = [token for delta in deltas for token in delta.token_ids]
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPT, *answer]])).logits[0, len(PROMPT) - 1 : -1]
    expected = logits.log_softmax(-1)[torch.arange(len(answer)), torch.tensor(answer)]
    got = torch.tensor([value for delta in deltas for value in delta.logprobs or ()])
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_a_vocabulary_without_a_way_on_is_an_error_of_that_request(engine: TransformersEngine) -> None:
    never = Constraint("grammar", 'root ::= "a" [^\\0-\\U0010ffff]')
    bad = GenerationRequest("bad", PROMPT, SamplingParams(8, 1.0, constraint=never))
    fine = GenerationRequest("fine", PROMPT, SamplingParams(8, 0.0, ignore_eos=True))
    found = collect(engine, [bad, fine])
    assert found["bad"][-1].finish_reason == "error"
    assert "constraint" in (found["bad"][-1].error or "")
    assert found["fine"][-1].finish_reason == "length"


def test_preparing_has_a_time_limit_and_runs_beside_the_loop(model: Any, tokenizer: Any) -> None:
    config = TransformersEngineConfig(prepare_seconds=1e-6)
    engine = TransformersEngine(model, tokenizer, config)
    heavy = GenerationRequest("heavy", PROMPT, SamplingParams(8, constraint=CASES["schema"][0]))
    light = GenerationRequest("light", PROMPT, SamplingParams(8, 0.0, ignore_eos=True))
    found = collect(engine, [heavy, light])
    assert found["heavy"][-1].finish_reason == "error"
    assert "took more than 1e-06 seconds" in (found["heavy"][-1].error or "")
    assert found["light"][-1].finish_reason == "length"


def test_a_stream_that_is_left_while_its_constraint_compiles_leaves_nothing(
    model: Any, tokenizer: Any
) -> None:
    engine = TransformersEngine(model, tokenizer)
    names = [f"property{number}" for number in range(400)]  # takes a while
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    slow = SamplingParams(8, constraint=Constraint("json_schema", json.dumps(schema)))

    async def leave() -> str:
        async def first() -> None:
            async for _ in engine.stream(GenerationRequest("a", PROMPT, slow)):
                return

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first(), 0.01)
        plain = SamplingParams(4, 0.0, ignore_eos=True)
        return "".join([one.text async for one in engine.stream(GenerationRequest("later", PROMPT, plain))])

    after = asyncio.run(leave())
    plain = SamplingParams(4, 0.0, ignore_eos=True)
    assert after == text_of(collect(engine, [GenerationRequest("b", PROMPT, plain)])["b"])
    health = engine.health()
    assert health.ready and health.running == health.waiting == 0
    engine.close()


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint("regex", "(x+x+)+y"),
        Constraint("regex", "((a{0,1000}){0,1000}){0,1000}"),
        Constraint("regex", "(.*a){30}"),
        Constraint("json_schema", '{"type": "string", "minLength": 1000000000}'),
        Constraint("json_schema", '{"type": "array", "items": {"type": "integer"}, "minItems": 1000000}'),
        Constraint("grammar", 'root ::= root root | "a"'),
    ],
)
def test_absurd_ones_take_bounded_time(engine: TransformersEngine, constraint: Constraint) -> None:
    params = SamplingParams(20, 1.0, seed=1, constraint=constraint)
    start = time.perf_counter()
    deltas = collect(engine, [GenerationRequest("a", PROMPT, params)])["a"]
    assert deltas[-1].finish_reason is not None
    assert time.perf_counter() - start < 20
