"""The engine remote against our own server on a real socket: its answers are the engine's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.core.registry import engines
from swift.core.types import Constraint, GenerationRequest, SamplingParams, TokenDelta
from swift.infer.engines.remote.config import RemoteEngineConfig
from swift.infer.engines.remote.engine import RemoteEngine
from swift.infer.server.app import create_app
from swift.infer.server.served import ServedModel

HELLO = ({"role": "user", "content": "hello"},)


@pytest.fixture(scope="module")
def served(serve_tiny: Any) -> Any:
    return serve_tiny(256)


@pytest.fixture(scope="module")
def url(served: ServedModel, on_socket: Any) -> Iterator[str]:
    with on_socket(served) as running:
        yield f"{running.url}/v1"


def remote(url: str, **changes: Any) -> RemoteEngine:
    built = engines.build(
        "remote", EngineSource(""), None, config=RemoteEngineConfig(base_url=url, **changes)
    )
    assert isinstance(built, RemoteEngine)
    return built


@pytest.fixture(scope="module")
def chats(url: str) -> Iterator[RemoteEngine]:
    engine = remote(url, extended=True)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def ids(url: str) -> Iterator[RemoteEngine]:
    engine = remote(url, sends="ids")
    yield engine
    engine.close()


def prompt(served: ServedModel) -> tuple[int, ...]:
    text = served.tokenizer.apply_chat_template(list(HELLO), tokenize=False, add_generation_prompt=True)
    return tuple(served.tokenizer(text, add_special_tokens=False)["input_ids"])


def joined(deltas: list[TokenDelta]) -> tuple[str, list[int], str | None]:
    tokens = [token for delta in deltas for token in delta.token_ids]
    return "".join(delta.text for delta in deltas), tokens, deltas[-1].finish_reason


SAMPLINGS = [
    SamplingParams(12, temperature=0.0),
    SamplingParams(12, seed=4, top_k=20, min_p=0.01, repetition_penalty=1.3, ignore_eos=True),
    SamplingParams(12, seed=5, frequency_penalty=0.5, presence_penalty=-0.5, logit_bias=((40, 5.0),)),
    SamplingParams(30, seed=6, constraint=Constraint("regex", "[ab]{3,5}")),
    SamplingParams(30, seed=6, constraint=Constraint("choice", json.dumps(["left", "right"]))),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=range(len(SAMPLINGS)))
def test_ids_equal_the_engine(ids: RemoteEngine, served: ServedModel, sampling: SamplingParams) -> None:
    request = GenerationRequest("a", prompt(served), sampling)
    assert joined(list(ids.generate([request]))) == joined(list(served.engine.generate([request])))


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=range(len(SAMPLINGS)))
def test_chats_equal_the_engine(chats: RemoteEngine, served: ServedModel, sampling: SamplingParams) -> None:
    own = joined(list(served.engine.generate([GenerationRequest("a", prompt(served), sampling)])))
    deltas = list(chats.generate([GenerationRequest("a", (), sampling, messages=HELLO)]))
    text, tokens, reason = joined(deltas)
    assert (text, reason) == (own[0], own[2]) and not tokens
    assert deltas[-1].usage == (len(prompt(served)), len(own[1]))


def test_logprobs_by_id(ids: RemoteEngine, served: ServedModel) -> None:
    request = GenerationRequest("a", prompt(served), SamplingParams(6, seed=1, logprobs=3, ignore_eos=True))
    told, own = list(ids.generate([request])), list(served.engine.generate([request]))
    values = [[value for delta in deltas for value in delta.logprobs or ()] for deltas in (told, own)]
    assert values[0] == pytest.approx(values[1], abs=1e-4) and len(values[0]) == 6
    tops = [[top for delta in deltas for top in delta.top_logprobs or ()] for deltas in (told, own)]
    assert [list(top) for top in tops[0]] == [list(top) for top in tops[1]] and len(tops[0]) == 6


def test_many_at_once(ids: RemoteEngine, served: ServedModel) -> None:
    start = prompt(served)
    requests = [
        GenerationRequest(str(n), start, SamplingParams(9, seed=n, ignore_eos=True)) for n in range(24)
    ]
    answers: dict[str, list[TokenDelta]] = {request.request_id: [] for request in requests}
    for delta in ids.generate(requests):
        answers[delta.request_id].append(delta)
    own: dict[str, list[TokenDelta]] = {request.request_id: [] for request in requests}
    for delta in served.engine.generate(requests):
        own[delta.request_id].append(delta)
    assert {name: joined(deltas) for name, deltas in answers.items()} == {
        name: joined(deltas) for name, deltas in own.items()
    }


def test_the_remotes_own_errors_come_through(ids: RemoteEngine, chats: RemoteEngine) -> None:
    (long,) = ids.generate([GenerationRequest("a", tuple([5] * 300), SamplingParams(4))])
    assert long.finish_reason == "error" and "256" in (long.error or "")
    assert "shorten the prompt" in (long.error or "") and long.refused
    (wrong,) = chats.generate(
        [GenerationRequest("a", (), SamplingParams(4, temperature=9.0), messages=HELLO)]
    )
    assert "400" in (wrong.error or "") and "temperature" in (wrong.error or "")
    (none,) = chats.generate([GenerationRequest("a", (1, 2))])
    assert "plain text" in (none.error or "")


def test_facts_and_what_it_cannot(url: str, ids: RemoteEngine, chats: RemoteEngine) -> None:
    assert ids.facts().reads == "ids" and chats.facts().reads == "chat" and ids.facts().max_length == 256
    assert not ids.facts().shares_weights and "regex" in ids.facts().constraints
    plain = remote(url)
    assert plain.facts().constraints == {"json_schema", "json_object"}
    plain.close()
    with pytest.raises(EngineError, match="closed"):
        list(plain.generate([GenerationRequest("a", (1,))]))
    with pytest.raises(EngineError, match="takes no new weights"):
        ids.update_weights(None)
    with pytest.raises(EngineError, match="cannot load the adapters a"):
        config = RemoteEngineConfig(base_url=url)
        RemoteEngine(EngineSource("", adapters={"a": Path(__file__)}), None, config)


def test_an_id_in_use_is_refused(ids: RemoteEngine, served: ServedModel) -> None:
    request = GenerationRequest("same", prompt(served), SamplingParams(4))
    with pytest.raises(EngineError, match="'same' is in use"):
        list(ids.generate([request, request]))
    assert joined(list(ids.generate([request])))[2] in ("stop", "length")


def test_what_the_remote_blames_on_the_request_is_blamed_on_it_by_a_server_before_it(url: str) -> None:
    app = create_app(ServedModel("front", remote(url, extended=True), None))
    long = [{"role": "user", "content": "word " * 400}]
    body = {"model": "front", "messages": long, "max_tokens": 4}
    with TestClient(app) as client:
        plain = client.post("/v1/chat/completions", json=body)
        stream = client.post("/v1/chat/completions", json={**body, "stream": True})
    for answer in (plain, stream):
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error" and error["code"] == "request_refused"
        assert error["message"].count("shorten the prompt") == 1
