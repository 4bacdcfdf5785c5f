"""The server through the official client, on a real loopback socket."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from swift.core.errors import EngineError
from swift.core.types import GenerationRequest, SamplingParams
from swift.infer.server.prompting import chat_prompt
from swift.infer.server.run import listen
from swift.infer.server.schema import ChatRequest
from swift.infer.server.served import ServedModel

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def served(serve_tiny: Any) -> Any:
    return serve_tiny(512)


@pytest.fixture(scope="module")
def url(served: ServedModel, on_socket: Any) -> Iterator[str]:
    with on_socket(served) as running:
        yield running.url
    assert not served.engine.health().ready  # closed with the server


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_models_and_health(client: OpenAI, url: str) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    health = httpx.get(f"{url}/health")
    assert health.status_code == 200 and health.json()["status"] == "ok"


def test_chat_equals_the_engine(client: OpenAI, served: ServedModel) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=12, seed=4, temperature=1.0
    )
    text = served.tokenizer.apply_chat_template(HELLO, tokenize=False, add_generation_prompt=True)
    ids = tuple(served.tokenizer(text, add_special_tokens=False)["input_ids"])
    deltas = list(served.engine.generate([GenerationRequest("x", ids, SamplingParams(12, seed=4))]))
    assert answer.choices[0].message.content == "".join(delta.text for delta in deltas)
    assert answer.usage is not None and answer.usage.prompt_tokens == len(ids)
    assert answer.usage.completion_tokens == sum(len(delta.token_ids) for delta in deltas)
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_chat_stream_equals_the_answer(client: OpenAI) -> None:
    arguments: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 12, "seed": 4, "n": 2}
    whole = client.chat.completions.create(**arguments)
    texts, reasons, usage = ["", ""], [None, None], None
    for piece in client.chat.completions.create(
        **arguments, stream=True, stream_options={"include_usage": True}
    ):
        usage = piece.usage or usage
        for choice in piece.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.message.content for choice in whole.choices]
    assert texts[0] != texts[1]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert usage == whole.usage


def test_chat_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=5, temperature=0, logprobs=True, top_logprobs=3
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    for entry in logprobs.content:
        assert entry.logprob == pytest.approx(entry.top_logprobs[0].logprob)  # greedy takes the likeliest
        assert len(entry.top_logprobs) == 3


def test_completions(client: OpenAI, served: ServedModel) -> None:
    arguments: dict[str, Any] = {"model": "tiny", "max_tokens": 6, "temperature": 0}
    both = client.completions.create(prompt=["one", "two"], logprobs=1, **arguments)
    ids = served.tokenizer("two")["input_ids"]
    assert both.choices[1].text == client.completions.create(prompt=ids, **arguments).choices[0].text
    assert both.choices[0].logprobs is not None and both.choices[0].logprobs.tokens is not None
    assert len(both.choices[0].logprobs.tokens) == both.usage.completion_tokens - 6  # type: ignore[union-attr]
    pieces = list(client.completions.create(prompt="one", stream=True, **arguments))
    assert "".join(piece.choices[0].text for piece in pieces) == both.choices[0].text


def test_stop_ends_the_text(client: OpenAI) -> None:
    arguments: dict[str, Any] = {"model": "tiny", "prompt": "one", "max_tokens": 16, "temperature": 0}
    free = client.completions.create(**arguments).choices[0].text
    cut = client.completions.create(stop=free[6:8], **arguments).choices[0]
    assert cut.text == free[: free.index(free[6:8])] and cut.finish_reason == "stop"


@pytest.mark.parametrize(
    ("change", "error", "code", "word"),
    [
        ({"model": "other"}, openai.NotFoundError, "model_not_found", "tiny"),
        ({"max_tokens": 600}, openai.BadRequestError, "context_length_exceeded", "512"),
        ({"temperature": -1}, openai.BadRequestError, "invalid_value", "temperature is -1"),
        ({"n": 0}, openai.BadRequestError, "invalid_value", "n is 0"),
        ({"messages": []}, openai.BadRequestError, "invalid_value", "messages"),
        ({"messages": [{"content": "x"}]}, openai.BadRequestError, "missing_value", "messages[0].role"),
        ({"frequency_penalty": 2.5}, openai.BadRequestError, "invalid_value", "frequency_penalty"),
        ({"top_logprobs": 2}, openai.BadRequestError, "invalid_value", "logprobs=true"),
        ({"stop": ["a"] * 17}, openai.BadRequestError, "invalid_value", "at most 16"),
        ({"messages": [{"role": "user"}]}, openai.BadRequestError, "invalid_value", "no content"),
        ({"messages": [{"role": "user", "content": 5}]}, openai.BadRequestError, "invalid_value", "is 5"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            openai.BadRequestError,
            "invalid_value",
            "image_url",
        ),
        (
            {"messages": [{"role": "user", "content": "w " * 500_000}]},
            openai.BadRequestError,
            "context_length_exceeded",
            "or more",
        ),
        (
            {"extra_body": {"chat_template_kwargs": {"chat_template": "x"}}},
            openai.BadRequestError,
            "invalid_value",
            "chat_template cannot be set",
        ),
    ],
)
def test_errors(
    client: OpenAI, change: dict[str, Any], error: type[openai.APIStatusError], code: str, word: str
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(**{"model": "tiny", "messages": HELLO, **change})
    assert word in caught.value.message and caught.value.code == code


JSON = "application/json"
MAX_BODY_BYTES = 32 * 2**20
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.mark.parametrize(
    ("body", "path", "kind", "status", "code"),
    [
        (b"{bad", CHAT, JSON, 400, "invalid_json"),
        (b"[]", TEXT, JSON, 400, "invalid_value"),
        (b"", TEXT, JSON, 400, "missing_value"),
        (b'{"prompt": "x"}', TEXT, JSON, 400, "missing_value"),
        (b'{"model": "\xff"}', TEXT, JSON, 400, "invalid_json"),
        (b"[" * 100_000, TEXT, JSON, 400, "invalid_json"),
        (b'{"model": "tiny", "prompt": "\\ud800"}', TEXT, JSON, 400, "invalid_value"),
        (b'{"model": "tiny", "prompt": [99999]}', TEXT, JSON, 400, "invalid_value"),
        (b'{"model": "tiny", "prompt": "x"}', TEXT, "application/x-www-form-urlencoded", 415, None),
        (b" " * (MAX_BODY_BYTES + 1), TEXT, JSON, 413, None),
        (b"{}", "/v1/nothing", JSON, 404, None),
    ],
)
def test_error_bodies(url: str, body: bytes, path: str, kind: str, status: int, code: str | None) -> None:
    answer = httpx.post(url + path, content=body, headers={"content-type": kind})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert code is None or error["code"] == code


def test_messages_reach_the_template_as_training_writes_them(served: ServedModel) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "find", "arguments": '{"key": 1}'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "5"},
    ]
    prompt = chat_prompt(served, ChatRequest.model_validate({"model": "tiny", "messages": messages}))
    assert prompt.messages[0]["content"] == "ab"
    assert prompt.messages[1]["tool_calls"][0]["function"]["arguments"] == {"key": 1}
    text = served.tokenizer.decode(prompt.ids)
    assert '"arguments": {"key": 1}' in text


@pytest.mark.parametrize("stream", [True, False])
def test_disconnect_aborts(url: str, served: ServedModel, stream: bool) -> None:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 450, "ignore_eos": True, "stream": stream}
    with (
        contextlib.suppress(httpx.ReadTimeout),
        httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=0.3) as answer,
    ):
        next(answer.iter_lines())
    deadline = time.monotonic() + 10
    while served.engine.health().running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert served.engine.health().running == 0


def test_many_at_once(client: OpenAI) -> None:
    texts: dict[int, str | None] = {}

    def ask(number: int) -> None:
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": str(number % 4)}], max_tokens=8, temperature=0
        )
        texts[number] = answer.choices[0].message.content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 16
    assert all(texts[number] == texts[number % 4] for number in texts)


def test_a_port_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(EngineError, match=rf"(?s)port {port}.*in use.*infer\.port"):
            listen("127.0.0.1", port)
