"""What the gateway does with requests, on real sockets before an engine in another process."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"
KEYS = {"anna": "sk-anna", "bert": "sk-bert"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def events(text: str) -> list[Any]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


def test_a_key_is_asked_for(run_server: Any) -> None:
    with run_server(api_keys=KEYS) as on:
        for headers in ({}, bearer("sk-wrong"), {"Authorization": "sk-anna"}):
            for path in (CHAT, "/v1/models", "/nothing", "/openapi.json"):
                answer = httpx.post(on.url + path, json=on.body(), headers=headers)
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
                assert answer.json()["error"]["code"] in ("missing_api_key", "invalid_api_key")
        assert httpx.post(on.url + CHAT, json=on.body(), headers=bearer("sk-bert")).status_code == 200
        for path in ("/health", "/ready", "/metrics"):
            assert httpx.get(on.url + path).status_code == 200
        assert on.engine.seen and len(on.engine.seen) == 1


def test_metrics_may_need_a_key(run_server: Any) -> None:
    with run_server(api_keys=KEYS, metrics_need_key=True) as on:
        assert httpx.get(on.url + "/metrics").status_code == 401
        assert httpx.get(on.url + "/metrics", headers=bearer("sk-anna")).status_code == 200
        assert httpx.get(on.url + "/health").status_code == 200


def test_requests_per_minute(run_server: Any) -> None:
    with run_server(api_keys=KEYS, key_requests_per_minute=2) as on:
        answers = [httpx.post(on.url + CHAT, json=on.body(), headers=bearer("sk-anna")) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 30
        assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
        assert httpx.post(on.url + CHAT, json=on.body(), headers=bearer("sk-bert")).status_code == 200


def test_tokens_per_minute_count_what_was_used(run_server: Any) -> None:
    with run_server(key_tokens_per_minute=1000, delay=0.001) as on:
        assert httpx.post(on.url + CHAT, json=on.body(tokens=700), timeout=30).status_code == 200
        too_much = httpx.post(on.url + CHAT, json=on.body(tokens=900))
        assert too_much.status_code == 429 and int(too_much.headers["retry-after"]) > 1
        never = httpx.post(on.url + CHAT, json=on.body(tokens=2000))
        assert never.status_code == 400 and never.json()["error"]["code"] == "request_too_large"


def test_a_cut_off_answer_gives_its_tokens_back(run_server: Any, eventually: Any) -> None:
    with run_server(key_tokens_per_minute=1000, delay=0.05) as on:
        with httpx.stream("POST", on.url + CHAT, json=on.body(tokens=900, stream=True)) as answer:
            next(answer.iter_lines())
        eventually(lambda: not on.gateway.busy)
        remaining = int(on.gateway.limits.headers("127.0.0.1")["x-ratelimit-remaining-tokens"])
        assert 900 < remaining < 1000


def test_the_queue_is_bounded(run_server: Any, eventually: Any) -> None:
    with run_server(max_concurrent=1, max_queue=1, delay=0.05) as on, ThreadPoolExecutor(4) as pool:
        first = pool.submit(httpx.post, on.url + CHAT, json=on.body(tokens=20))
        eventually(lambda: on.gateway.queue.running == 1)
        second = pool.submit(httpx.post, on.url + CHAT, json=on.body())
        eventually(lambda: on.gateway.queue.waiting == 1)
        for stream in (False, True):
            third = httpx.post(on.url + CHAT, json=on.body(stream=stream))
            assert third.status_code == 429 and int(third.headers["retry-after"]) >= 1
            assert third.json()["error"]["code"] == "queue_full"
        assert len(on.engine.streams) == 1
        assert first.result().status_code == second.result().status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_the_queue_never_reaches_the_engine(
    run_server: Any, eventually: Any, stream: bool
) -> None:
    with run_server(max_concurrent=1, delay=0.05) as on, ThreadPoolExecutor(2) as pool:
        first = pool.submit(httpx.post, on.url + CHAT, json=on.body(tokens=20))
        eventually(lambda: on.gateway.queue.running == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(on.url + CHAT, json=on.body(stream=stream), timeout=0.2)
        eventually(lambda: on.gateway.queue.waiting == 0)
        assert first.result().status_code == 200
        assert len(on.engine.seen) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_cancels_its_answer(run_server: Any, eventually: Any, stream: bool) -> None:
    with run_server(delay=0.05) as on:
        with (
            pytest.raises(httpx.ReadTimeout),
            httpx.stream("POST", on.url + CHAT, json=on.body(tokens=500, stream=stream), timeout=0.3) as one,
        ):
            if stream:
                next(one.iter_lines())
                raise httpx.ReadTimeout("enough")
        eventually(lambda: not on.engine.streams and not on.gateway.queue.running)


def test_the_deadline(run_server: Any, eventually: Any) -> None:
    with run_server(max_concurrent=1, request_timeout=0.6, delay=0.4) as on, ThreadPoolExecutor(3) as pool:
        running = pool.submit(httpx.post, on.url + CHAT, json=on.body(tokens=500, stream=True))
        eventually(lambda: on.gateway.queue.running == 1)
        queued = httpx.post(on.url + CHAT, json=on.body(tokens=500, stream=True))
        assert queued.status_code == 504 and queued.json()["error"]["code"] == "request_timeout"
        assert running.result().status_code == 200
        pieces = events(running.result().text)
        assert len(pieces) > 2 and pieces[-1]["error"]["code"] == "request_timeout"
        assert running.result().text.endswith("data: [DONE]\n\n")
        whole = httpx.post(on.url + CHAT, json=on.body(tokens=500))
        assert whole.status_code == 504
        eventually(lambda: not on.engine.streams)


def test_draining(run_server: Any, eventually: Any) -> None:
    with run_server(delay=0.02, drain_timeout=20.0) as on, ThreadPoolExecutor(2) as pool:
        running = pool.submit(httpx.post, on.url + CHAT, json=on.body(tokens=60, stream=True), timeout=30)
        eventually(lambda: on.engine.streams)
        on.server.handle_exit(15, None)
        ready = httpx.get(on.url + "/ready")
        assert ready.status_code == 503 and ready.json()["status"] == "shutting down"
        assert httpx.get(on.url + "/health").status_code == 200
        refused = httpx.post(on.url + CHAT, json=on.body())
        assert refused.status_code == 503 and refused.headers["retry-after"]
        assert refused.json()["error"]["code"] == "shutting_down"
        answer = running.result()
        assert events(answer.text)[-1]["choices"][0]["finish_reason"] == "length"
        on.thread.join(10)
        assert not on.thread.is_alive()


@pytest.mark.parametrize("signals", [1, 2])
def test_what_outlasts_the_drain_ends_with_an_error(run_server: Any, eventually: Any, signals: int) -> None:
    timeout = 0.3 if signals == 1 else 60.0
    with run_server(delay=0.05, drain_timeout=timeout) as on, ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(httpx.post, on.url + CHAT, json=on.body(tokens=500, stream=stream), timeout=30)
            for stream in (True, False)
        ]
        eventually(lambda: len(on.engine.streams) == 2)
        threading.Event().wait(0.2)
        for _ in range(signals):
            on.server.handle_exit(15, None)
        stream, whole = (one.result() for one in asked)
        assert events(stream.text)[-1]["error"]["code"] == "shutting_down"
        assert stream.text.endswith("data: [DONE]\n\n")
        assert whole.status_code == 503 and whole.json()["error"]["code"] == "shutting_down"
        on.thread.join(10)
        assert not on.thread.is_alive() and on.engine.process.poll() is not None


def test_request_ids(run_server: Any) -> None:
    with run_server() as on:
        named = httpx.post(on.url + CHAT, json=on.body(), headers={"x-request-id": "mine-1"})
        assert named.headers["x-request-id"] == "mine-1"
        made = {httpx.get(on.url + "/v1/models").headers["x-request-id"] for _ in range(3)}
        assert len(made) == 3
        strange = httpx.get(on.url + "/health", headers={"x-request-id": "a b" * 100})
        assert len(strange.headers["x-request-id"]) == 32


def test_the_request_log(run_server: Any, tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    with run_server(api_keys=KEYS, request_log=str(file)) as on:
        good = bearer("sk-anna") | {"x-request-id": "one"}
        httpx.post(on.url + CHAT, json=on.body(tokens=5, stream=True), headers=good)
        httpx.post(on.url + CHAT, json={**on.body(), "model": "other"}, headers=bearer("sk-anna"))
        httpx.post(on.url + CHAT, json=on.body(), headers=bearer("sk-wrong"))
        httpx.get(on.url + "/health")
    text = file.read_text()
    assert "sk-" not in text
    first, unknown, refused = (json.loads(line) for line in text.splitlines())
    assert first["request_id"] == "one" and first["key"] == "anna" and first["model"] == "tiny"
    assert first["status"] == 200 and first["completion_tokens"] == 5 and first["prompt_tokens"] > 5
    assert 0 < first["queue_seconds"] <= first["first_token_seconds"] <= first["seconds"]
    assert first["finish_reason"] == "length" and first["stream"] and first["route"] == CHAT
    assert unknown["status"] == 404 and unknown["completion_tokens"] == 0
    assert unknown["error"] == "model_not_found"
    assert refused["status"] == 401 and refused["key"] is None and refused["error"] == "invalid_api_key"


def test_metrics(run_server: Any) -> None:
    with run_server(key_requests_per_minute=3) as on:
        for _ in range(4):
            httpx.post(on.url + CHAT, json=on.body(tokens=5))
        text = httpx.get(on.url + "/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values[f'swift_requests_total{{model="tiny",route="{CHAT}",status="200"}}'] == "3.0"
    assert (
        values[f'swift_requests_total{{model="",route="{CHAT}",status="429"}}'] == "1.0"
    )  # refused before it
    assert values['swift_completion_tokens_total{model="tiny"}'] == "15.0"
    assert values['swift_inter_token_seconds_count{model="tiny"}'] == "12.0"
    assert values['swift_time_to_first_token_seconds_count{model="tiny"}'] == "3.0"
    assert values['swift_rejected_requests_total{reason="rate_limit_exceeded"}'] == "1.0"
    assert values["swift_waiting_requests"] == "0.0"


def test_unknown_paths_and_models_add_no_metrics(run_server: Any) -> None:
    with run_server() as on:
        for number in range(20):
            httpx.get(f"{on.url}/nothing/{number}")
            httpx.post(on.url + CHAT, json={**on.body(), "model": f"model-{number}"})
        text = httpx.get(on.url + "/metrics").text
    assert "/nothing" not in text and "model-" not in text
    assert 'route="unknown"' in text


def test_several_answers_take_several_places(run_server: Any) -> None:
    with run_server(max_concurrent=4) as on:
        answer = httpx.post(on.url + CHAT, json=on.body(tokens=3, n=4), timeout=30)
        assert [choice["message"]["content"] for choice in answer.json()["choices"]] == [" word" * 3] * 4
        assert answer.json()["usage"]["completion_tokens"] == 12


def test_two_hundred_streams_at_once(run_server: Any) -> None:
    import asyncio

    async def ask(client: httpx.AsyncClient, on: Any, number: int) -> str:
        text = ""
        body = on.body(tokens=8, stream=True)
        async with client.stream("POST", on.url + CHAT, json=body) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    text += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
        return text

    async def all_of_them(on: Any) -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            return await asyncio.gather(*(ask(client, on, number) for number in range(200)))

    with run_server(max_concurrent=50) as on:
        texts = asyncio.run(all_of_them(on))
        assert texts == [" word" * 8] * 200
        assert on.gateway.queue.running == on.gateway.queue.waiting == 0 and not on.engine.streams
