"""Chats beyond plain text, through the official client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from swift.core.types import EngineFacts, SamplingParams
from swift.infer.server.sampled import sampling
from swift.infer.server.schema import ChatRequest
from swift.infer.server.served import ServedModel

JSON = {"content-type": "application/json"}
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
FIND: Any = {
    "type": "function",
    "function": {
        "name": "find",
        "parameters": {
            "type": "object",
            "properties": {"kind": {"enum": ["cat", "dog"]}},
            "required": ["kind"],
            "additionalProperties": False,
        },
    },
}
NOW: Any = {
    "type": "function",
    "function": {
        "name": "now",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
    },
}


class Pet(BaseModel):
    """What the model is to fill in."""

    kind: str = Field(pattern="^(cat|dog)$")
    old: bool


def test_parse_gives_an_object(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="tiny", messages=HELLO, response_format=Pet, max_tokens=60, temperature=1.0, seed=1
    )
    pet = answer.choices[0].message.parsed
    assert isinstance(pet, Pet) and pet.kind in ("cat", "dog")
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("extra", "accepts"),
    [
        ({"response_format": {"type": "json_object"}}, lambda text: text.lstrip()[0] == "{"),
        ({"guided_choice": ["yes", "no"]}, ("yes", "no").__contains__),
        (
            {"structured_outputs": {"regex": "[ab]{3}"}},
            lambda text: len(text) == 3 and set(text) <= set("ab"),
        ),
        ({"structured_outputs": {"grammar": 'root ::= "x" "y"'}}, "xy".__eq__),
        ({"guided_json": {"enum": [1, 2]}}, lambda text: json.loads(text) in (1, 2)),
        ({"response_format": {"type": "text"}, "structured_outputs": {"choice": ["a"]}}, "a".__eq__),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_answers_match(client: OpenAI, extra: Any, accepts: Callable[[str], bool], stream: bool) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": HELLO, "max_tokens": 40, "seed": 5}
    if stream:
        pieces = client.chat.completions.create(**asked, stream=True, extra_body=extra)
        text = "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices)
    else:
        text = client.chat.completions.create(**asked, extra_body=extra).choices[0].message.content or ""
    assert accepts(text)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "find"}}])
def test_calls_are_enforced(client: OpenAI, choice: Any, stream: bool) -> None:
    arguments: dict[str, Any] = {
        "model": "tiny", "messages": HELLO, "tools": [FIND, NOW], "tool_choice": choice, "max_tokens": 120,
        "parallel_tool_calls": False, "seed": 3,
    }  # fmt: skip
    if stream:
        with client.chat.completions.stream(**arguments) as events:
            answer: Any = events.get_final_completion().choices[0]
    else:
        answer = client.chat.completions.create(**arguments).choices[0]
    (call,) = answer.message.tool_calls
    assert answer.finish_reason == "tool_calls" and not answer.message.content
    if choice != "required" or call.function.name == "find":
        assert call.function.name == "find"
        assert json.loads(call.function.arguments)["kind"] in ("cat", "dog")
    else:
        assert json.loads(call.function.arguments) == {}


def test_the_name_of_a_call_comes_before_its_arguments(scripted: Any, serve: Any) -> None:
    text = 'Wait. <tool_call>\n{"name": "find", "arguments": {"kind": "cat"}}\n</tool_call>'
    served, _ = scripted(text)
    with serve(served) as client:
        pieces = [
            piece.choices[0].delta
            for piece in client.chat.completions.create(
                model="tiny", messages=HELLO, tools=[FIND], stream=True
            )
        ]
    said = "".join(delta.content or "" for delta in pieces)
    calls = [delta.tool_calls[0] for delta in pieces if delta.tool_calls]
    assert said.strip() == "Wait."
    assert (calls[0].function.name, calls[0].function.arguments) == ("find", "")
    assert calls[0].id and all(call.id is None and call.function.name is None for call in calls[1:])
    assert len(calls) > 4 and "".join(call.function.arguments for call in calls) == '{"kind": "cat"}'


def test_calls_of_engines_that_read_chats_pass_through(scripted: Any, serve: Any) -> None:
    facts = EngineFacts(reads="chat", constraints=frozenset({"json_schema"}))
    served, engine = scripted("", facts, tokenizer=None)
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"kind": "cat"}'}}
    engine.last = {"tool_calls": (call,), "usage": (7, 5)}
    asked: dict[str, Any] = {"model": "tiny", "messages": HELLO, "tools": [FIND], "tool_choice": "required"}
    with serve(served) as client:
        whole = client.chat.completions.create(**asked)
        with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            streamed = events.get_final_completion()
        for refused in ({"logprobs": True}, {"extra_body": {"return_token_ids": True}}):
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(**asked, **refused)
        with pytest.raises(openai.BadRequestError, match="chats only"):
            client.completions.create(model="tiny", prompt="x")
    for answer in (whole, streamed):
        assert answer.choices[0].finish_reason == "tool_calls"
        made: Any = (answer.choices[0].message.tool_calls or [None])[0]
        assert made.id == "call_1" and json.loads(made.function.arguments) == {"kind": "cat"}
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 5)
    assert engine.asked[0].tool_choice == "required" and engine.asked[0].sampling.constraint is None
    assert engine.asked[0].prompt_ids == () and engine.asked[0].messages == tuple(HELLO)


def test_token_ids_are_shown(client: OpenAI, tiny: ServedModel) -> None:
    asked: dict[str, Any] = {
        "model": "tiny", "messages": HELLO, "max_tokens": 6, "seed": 2,
        "extra_body": {"return_token_ids": True},
    }  # fmt: skip
    whole = client.chat.completions.create(**asked).model_dump()
    ids = whole["choices"][0]["token_ids"]
    assert len(ids) == whole["usage"]["completion_tokens"]
    assert len(whole["prompt_token_ids"]) == whole["usage"]["prompt_tokens"]
    assert "hello" in tiny.tokenizer.decode(whole["prompt_token_ids"])
    pieces = [piece.model_dump() for piece in client.chat.completions.create(**asked, stream=True)]
    assert pieces[0]["prompt_token_ids"] == whole["prompt_token_ids"]
    assert [
        token for piece in pieces for choice in piece["choices"] for token in choice.get("token_ids") or ()
    ] == ids
    text: dict[str, Any] = {"model": "tiny", "prompt": whole["prompt_token_ids"], "max_tokens": 6, "seed": 2}
    again = client.completions.create(**text, extra_body={"return_token_ids": True}).model_dump()
    assert again["choices"][0]["token_ids"] == ids
    assert again["choices"][0]["prompt_token_ids"] == whole["prompt_token_ids"]


def test_every_sampling_field_reaches_the_engine(tiny: ServedModel) -> None:
    body = {
        "model": "tiny", "messages": HELLO, "max_completion_tokens": 5, "temperature": 0.5, "top_p": 0.9,
        "top_k": 3, "min_p": 0.1, "stop": "x", "stop_token_ids": [7], "seed": -4, "ignore_eos": True,
        "repetition_penalty": 1.2, "frequency_penalty": -2, "presence_penalty": 2, "logit_bias": {"5": -100},
    }  # fmt: skip
    request = ChatRequest.model_validate(body)
    assert sampling(tiny, request, prompt=3, logprobs=2, param="messages") == SamplingParams(
        5, 0.5, 0.9, 3, 0.1, ("x",), (7,), -4, 2, True, 1.2, -2, 2, ((5, -100.0),)
    )


def test_logit_bias_forces_a_token(client: OpenAI, tiny: ServedModel) -> None:
    (token,) = tiny.tokenizer("a", add_special_tokens=False)["input_ids"]
    answer = client.completions.create(
        model="tiny", prompt="b", max_tokens=4, temperature=0, logit_bias={str(token): 100}
    )
    assert answer.choices[0].text == "aaaa"


OBJECT = {"type": "json_object"}
NO_SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": 5}}}
OTHER = {"type": "function", "function": {"name": "x"}}


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"tool_choice": "required"}, "invalid_value", "needs tools"),
        ({"tools": [FIND], "tool_choice": OTHER}, "invalid_value", "find"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "invalid_value", "pattern"),
        ({"extra_body": {"functions": []}}, "invalid_value", "not supported"),
        ({"response_format": {"type": "xml"}}, "invalid_value", "json_schema"),
        ({"response_format": NO_SCHEMA}, "invalid_value", "schema"),
        ({"extra_body": {"structured_outputs": {"regex": "("}}}, "invalid_value", "regular expression"),
        ({"extra_body": {"guided_regex": "a", "guided_choice": ["b"]}}, "invalid_value", "exactly one"),
        ({"extra_body": {"guided_regex": "a"}, "response_format": OBJECT}, "invalid_value", "one of"),
        ({"logit_bias": {"9999999": 1}}, "invalid_value", "9999999"),
        ({"logit_bias": {"1": 101}}, "invalid_value", "100"),
        ({"logit_bias": {"a": 1}}, "invalid_value", "integer"),
        ({"presence_penalty": -2.1}, "invalid_value", "presence_penalty"),
        ({"max_tokens": 10**30}, "invalid_value", "max_tokens"),
        ({"seed": 2**70}, "invalid_value", "seed"),
        ({"n": 10**9}, "invalid_value", "n is"),
        ({"stop": [""]}, "invalid_value", "stop"),
        ({"stop": ["\ud800"]}, "invalid_value", "unicode"),
        ({"model": "\ud800"}, "invalid_value", "surrogate"),
        ({"stream_options": {"include_usage": True}}, "invalid_value", "stream=true"),
        ({"tools": [FIND], "tool_choice": "required", "response_format": OBJECT}, "invalid_value", "other"),
    ],
)  # fmt: skip
def test_refusals(client: OpenAI, change: dict[str, Any], code: str, word: str) -> None:
    body = {"model": "tiny", "messages": HELLO, **change, **change.get("extra_body", {})}
    answer = httpx.post(f"{client.base_url}chat/completions", content=json.dumps(body), headers=JSON)
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["code"] == code and word in error["message"]
