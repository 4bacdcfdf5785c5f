"""The engine remote against servers that break every promise."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from swift.core.errors import EngineError
from swift.core.types import GenerationRequest, SamplingParams, TokenDelta
from swift.infer.engines.http import client as http_client
from swift.infer.engines.remote.config import RemoteEngineConfig
from swift.infer.engines.remote.engine import RemoteEngine

_spec = importlib.util.spec_from_file_location("misbehaving", Path(__file__).with_name("misbehaving.py"))
assert _spec is not None and _spec.loader is not None
bad = sys.modules["misbehaving"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bad)

HELLO = ({"role": "user", "content": "hello"},)
GOOD = [bad.STREAM, bad.said("hel"), bad.said("lo"), bad.said(None, "stop"), b"data: [DONE]\n\n"]
KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Tries follow each other at once; what the pauses would have been."""
    pauses: list[float] = []
    real = http_client.pause

    def noted(attempt: int, wanted: float | None) -> float:
        pauses.append(real(attempt, wanted))
        return 0.0

    monkeypatch.setattr(http_client, "pause", noted)
    return pauses


def remote(server: Any, **changes: Any) -> RemoteEngine:
    return RemoteEngine(None, None, RemoteEngineConfig(base_url=server.url, **changes))


def asked(engine: RemoteEngine, sampling: SamplingParams | None = None) -> list[TokenDelta]:
    try:
        request = GenerationRequest("r", (), sampling or SamplingParams(), messages=HELLO)
        return list(engine.generate([request]))
    finally:
        engine.close()


def text(deltas: list[TokenDelta]) -> str:
    return "".join(delta.text for delta in deltas)


def test_a_good_answer_and_what_was_sent() -> None:
    usage = bad.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    with bad.misbehaving([*GOOD[:-1], usage, GOOD[-1]]) as server:
        engine = remote(server)
        assert engine.facts().max_length == 99 and engine.facts().reads == "chat"
        deltas = asked(engine, SamplingParams(7, temperature=0.5, stop=("x",), seed=3))
    assert text(deltas) == "hello"
    assert deltas[-1].finish_reason == "stop" and deltas[-1].usage == (3, 2)
    body = json.loads(server.requests[-1].partition(b"\r\n\r\n")[2])
    assert body["messages"] == list(HELLO) and body["max_completion_tokens"] == 7 and body["seed"] == 3
    assert "top_k" not in body and body["stop"] == ["x"] and body["stream"] is True


def test_pieces_cut_anywhere() -> None:
    whole = b"".join([bad.said("grüße "), b": ping\r\n\r\n", bad.said("你好"), bad.said("", "length")])
    cuts = [piece for byte in whole for piece in (bytes([byte]),)]
    with bad.misbehaving([bad.STREAM, *cuts]) as server:
        deltas = asked(remote(server))
    assert text(deltas) == "grüße 你好" and deltas[-1].finish_reason == "length"


def test_tool_calls_come_in_pieces() -> None:
    def call(**piece: Any) -> bytes:
        return bytes(bad.event({"choices": [{"delta": {"tool_calls": [piece]}}]}))

    pieces = [
        call(index=0, id="c1", type="function", function={"name": "add", "arguments": ""}),
        call(index=0, function={"arguments": '{"a":'}),
        call(index=1, id="c2", function={"name": "sub", "arguments": "{}"}),
        call(index=0, function={"arguments": " 1}"}),
    ]
    with bad.misbehaving([bad.STREAM, *pieces, bad.said(None, "tool_calls"), b"data: [DONE]\n\n"]) as server:
        deltas = asked(remote(server))
    first, second = deltas[-1].tool_calls
    assert first == {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert second["function"]["name"] == "sub" and deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([bad.STREAM, bad.said("hel"), bad.CLOSE], "without a finish reason"),
        ([bad.CHUNKED, b"5\r\nda", bad.CLOSE], "broke"),
        ([bad.STREAM, bad.said("hel"), 0.1, bad.RESET], "broke"),
        ([bad.STREAM, b"data: {not json}\n\n"], "no JSON object: '{not json}'"),
        ([bad.STREAM, b"data: [1]\n\n"], "no JSON object"),
        ([bad.STREAM, bad.event({"error": {"message": "out of memory"}})], "failed: out of memory"),
        (
            [bad.STREAM, bad.event({"error": {"message": "maximum context length is 9", "code": 400}})],
            "answers 400: maximum context length is 9: shorten the prompt",
        ),
        ([bad.STREAM, bad.event({"error": {"message": "odd", "code": [400]}})], "failed: odd"),
        ([bad.answered("200 OK", b"<html>", "content-type: text/html\r\n")], "text/html instead of a stream"),
        ([bad.answered("200 OK", b"hello")], "without a finish reason"),
        ([b"\x16\x03\x01 garbage\r\n\r\n"], "broke"),
        ([bad.refusal("401 Unauthorized", f"wrong key {KEY}")], "401: wrong key ***: set infer.api_key_env"),
        ([bad.refusal("404 Not Found", "no model m")], "infer.model"),
        ([bad.refusal("400 Bad Request", "maximum context length is 99")], "shorten the prompt"),
        ([bad.refusal("422 Unprocessable", "top_p must be positive")], "422: top_p must be positive"),
        ([bad.answered("307 Go", b"", "location: https://x/v1\r\n")], "set infer.base_url to the place"),
        ([bad.refusal("429 Slow", "too fast")], "lower infer.connections"),
        ([bad.answered("503 Down", b"gateway asleep")], "503: gateway asleep"),
    ],
)
def test_faults_say_what_and_why(script: list[Any], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    with bad.misbehaving(script) as server:
        deltas = asked(remote(server, retries=0, api_key_env="A_KEY"))
    assert deltas[-1].finish_reason == "error" and expected in (deltas[-1].error or ""), deltas[-1].error
    assert KEY not in (deltas[-1].error or "")
    assert f"authorization: Bearer {KEY}".lower().encode() in server.requests[-1].lower()


def test_tried_again_only_before_the_first_event(_no_pauses: list[float]) -> None:
    wait = bad.refusal("429 Slow", "wait", "retry-after: 2\r\n")
    with bad.misbehaving([wait], [bad.answered("500 Oops", b"")], [bad.RESET], GOOD) as server:
        deltas = asked(remote(server, retries=3))
    assert text(deltas) == "hello" and deltas[-1].finish_reason == "stop"
    assert len(server.requests) == 1 + 4
    assert _no_pauses[0] == 2.0 and 0.75 <= _no_pauses[1] <= 1.25  # then 0.5 s doubled
    with bad.misbehaving([bad.STREAM, bad.said("hel"), 0.1, bad.RESET], GOOD) as server:
        deltas = asked(remote(server, retries=3))
    assert text(deltas) == "hel" and deltas[-1].finish_reason == "error" and len(server.requests) == 2


def test_silence_is_given_up() -> None:
    with bad.misbehaving([bad.STREAM, bad.said("hel"), 3.0]) as server:
        began = time.monotonic()
        deltas = asked(remote(server, timeout=0.3))
    assert time.monotonic() - began < 2.5
    assert "silent for too long" in (deltas[-1].error or "") and "infer.timeout" in (deltas[-1].error or "")


def test_a_break_after_the_end_loses_nothing() -> None:
    with bad.misbehaving(
        [bad.CHUNKED, b"%x\r\n" % len(bad.said("hi", "stop")), bad.said("hi", "stop"), bad.RESET]
    ) as server:
        deltas = asked(remote(server))
    assert text(deltas) == "hi" and deltas[-1].finish_reason == "stop"


def test_leaving_a_stream_closes_the_connection() -> None:
    with bad.misbehaving(
        [bad.STREAM, *[part for _ in range(200) for part in (bad.said("x"), 0.02)]]
    ) as server:
        engine = remote(server)

        async def read() -> int:
            seen = 0
            stream = engine.stream(GenerationRequest("r", (), messages=HELLO))
            async for _ in stream:
                seen += 1
                if seen == 3:
                    break
            await stream.aclose()
            return engine.health().running

        assert asyncio.run(read()) == 0
        deadline = time.monotonic() + 5
        while not server.left:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        engine.close()


def test_leaving_generate_aborts_the_others() -> None:
    with bad.misbehaving(
        [bad.STREAM, *[part for _ in range(200) for part in (bad.said("x"), 0.02)]]
    ) as server:
        engine = remote(server)
        requests = [GenerationRequest(str(number), (), messages=HELLO) for number in range(5)]
        for _ in engine.generate(requests):
            break
        deadline = time.monotonic() + 5
        while engine.health().running:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        engine.close()


def test_no_more_connections_than_allowed() -> None:
    with bad.misbehaving([bad.STREAM, 0.1, bad.said("x", "stop")]) as server:
        engine = remote(server, connections=2)
        requests = [GenerationRequest(str(number), (), messages=HELLO) for number in range(6)]
        began = time.monotonic()
        deltas = list(engine.generate(requests))
        assert time.monotonic() - began >= 0.29  # three rounds of two
        assert sum(delta.finish_reason == "stop" for delta in deltas) == 6
        engine.close()


@pytest.mark.parametrize(
    ("sampling", "word"),
    [
        (SamplingParams(top_k=5), "top_k 5"),
        (SamplingParams(min_p=0.1), "min_p"),
        (SamplingParams(repetition_penalty=1.2), "repetition_penalty"),
        (SamplingParams(ignore_eos=True), "ignore_eos"),
        (SamplingParams(logprobs=0), "infer.sends=ids"),
    ],
)
def test_what_the_api_has_not_is_refused_unsent(sampling: SamplingParams, word: str) -> None:
    with bad.misbehaving(GOOD) as server:
        (delta,) = asked(remote(server), sampling)
        assert delta.finish_reason == "error" and word in (delta.error or "")
        assert len(server.requests) == 1  # the list of models


def models(*names: str) -> bytes:
    return bytes(bad.answered("200 OK", json.dumps({"data": [{"id": name} for name in names]}).encode()))


@pytest.mark.parametrize(
    ("answer", "changes", "expected"),
    [
        (models("a", "b"), {}, "choose with infer.model: a, b"),
        (models("llama"), {"model": "lama"}, "did you mean 'llama'"),
        (bad.refusal("401 No", "who are you"), {"model": "m"}, "401: who are you"),
        (bad.answered("200 OK", b"[]"), {}, "offers 0 models"),
    ],
)
def test_a_wrong_start_is_said_at_once(answer: bytes, changes: dict[str, Any], expected: str) -> None:
    with bad.misbehaving(GOOD, models=answer) as server, pytest.raises(EngineError) as caught:
        remote(server, **changes)
    assert expected in str(caught.value)


def test_a_server_without_a_list_is_believed() -> None:
    with bad.misbehaving(GOOD, models=bad.refusal("404 Not Found", "no")) as server:
        assert text(asked(remote(server, model="any"))) == "hello"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "infer.base_url is not set"),
        ("localhost:8000/v1", "no URL of an API"),
        ("https://me:pw@host/v1", "holds a user's name or password"),
        ("http://127.0.0.1:9/v1", "cannot be reached"),
    ],
)
def test_a_url_that_is_none(url: str | None, expected: str) -> None:
    with pytest.raises(EngineError, match=expected) as caught:
        RemoteEngine(None, None, RemoteEngineConfig(base_url=url))
    assert "pw" not in str(caught.value)


def test_keys_come_from_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from swift.infer.engines.remote.key import api_key

    file = tmp_path / "key"
    file.write_text(f"  {KEY}\n")
    assert api_key(RemoteEngineConfig(api_key_file=str(file))) == KEY
    monkeypatch.setenv("A_KEY", "two words")
    for wrong in ({"api_key_env": "A_KEY"}, {"api_key_env": "NO_KEY_HERE"}, {"api_key_file": str(tmp_path)},
                  {"api_key_env": "A_KEY", "api_key_file": str(file)}):  # fmt: skip
        with pytest.raises(EngineError) as caught:
            api_key(RemoteEngineConfig(**wrong))
        assert "two words" not in str(caught.value) and KEY not in str(caught.value)
    with bad.misbehaving(GOOD) as server:
        engine = remote(server, api_key_file=str(file))
        assert KEY not in repr(vars(engine)) and KEY not in repr(engine._client)
        engine.close()
