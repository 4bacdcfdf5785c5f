"""How each API is written and read: the events are as the servers' own sources write them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import xgrammar

from swift.core.types import Constraint, GenerationRequest, SamplingParams, TokenDelta
from swift.infer.engines.http.choices import choice_regex
from swift.infer.engines.http.dialect import Dialect, Unsupported
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.http.openai_chat import ChatDialect
from swift.infer.engines.lmdeploy.chat import LmdeployDialect
from swift.infer.engines.sglang.generate import GenerateDialect
from swift.infer.engines.vllm.generate import VllmDialect

SGLANG, LMDEPLOY = GenerateDialect(seeds=True), LmdeployDialect("model")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
)


def asked(sampling: SamplingParams | None = None, **changes: Any) -> GenerationRequest:
    return GenerationRequest("r", (1, 2), sampling or SamplingParams(), **changes)


def read(dialect: Dialect, request: GenerationRequest, events: list[dict[str, Any]]) -> list[TokenDelta]:
    reader = dialect.reader(request)
    deltas = []
    for event in events:
        delta = reader.read(event)
        deltas += [delta] if delta else []
        if reader.done:
            break
    ended = reader.end()
    return [*deltas, *([ended] if ended else [])]


def sglang_event(
    ids: list[int], text: str, reason: dict[str, Any] | None = None, **meta: Any
) -> dict[str, Any]:
    return {"text": text, "output_ids": ids, "meta_info": {"id": "r", "finish_reason": reason, **meta}}


def test_sglang_reads_pieces() -> None:
    request = asked(SamplingParams(logprobs=1))
    values = [[-0.1, 5, None]], [[[-0.1, 5, None]]]
    events = [
        sglang_event([5], "a", output_token_logprobs=values[0], output_top_logprobs=values[1]),
        sglang_event(
            [6, 2], "b", {"type": "stop", "matched": 2},
            output_token_logprobs=[[-0.2, 6, None], [-0.3, 2, None]],
            output_top_logprobs=[[[-0.15, 9, None]], [[-0.3, 2, None]]],
        ),
    ]  # fmt: skip
    deltas = read(SGLANG, request, events)
    assert [delta.token_ids for delta in deltas] == [(5,), (6, 2), ()]
    assert deltas[1].logprobs == (-0.2, -0.3) and deltas[1].top_logprobs == ({9: -0.15}, {2: -0.3})
    assert deltas[-1].finish_reason == "stop"
    with pytest.raises(ServerFault, match="0 log-probabilities for 1"):
        read(SGLANG, request, [sglang_event([5], "a")])


def test_sglang_stop_strings_are_cut_here() -> None:
    request = asked(SamplingParams(stop=("</s>",)))
    assert SGLANG.written(request)[1]["sampling_params"]["no_stop_trim"] is True
    events = [sglang_event([5], "yes <"), sglang_event([6], "/s"), sglang_event([7], "> more")]
    deltas = read(SGLANG, request, events)
    assert "".join(delta.text for delta in deltas) == "yes " and deltas[-1].finish_reason == "stop"
    held = [sglang_event([5], "1 <"), sglang_event([6], " 2", {"type": "length", "length": 2})]
    assert "".join(delta.text for delta in read(SGLANG, request, held)) == "1 < 2"


def test_sglang_says_why_it_gave_up() -> None:
    with pytest.raises(ServerFault, match="grammar cannot be compiled"):
        read(
            SGLANG,
            asked(),
            [sglang_event([], "", {"type": "abort", "message": "grammar cannot be compiled"})],
        )
    assert read(SGLANG, asked(), [sglang_event([5], "a")])[-1].finish_reason is None  # cut: no end


def test_sglang_writes_neutral_values_and_refuses_seeds_it_would_ignore() -> None:
    params = SGLANG.written(asked(SamplingParams(9, temperature=0.0, seed=3)))[1]["sampling_params"]
    assert params["top_k"] == -1 and params["sampling_seed"] == 3 and params["max_new_tokens"] == 9
    with pytest.raises(Unsupported, match="seed 3"):
        GenerateDialect().written(asked(SamplingParams(seed=3)))
    with pytest.raises(Unsupported, match="one kind"):
        SGLANG.written(asked(SamplingParams(stop=("a",), stop_token_ids=(4,))))
    body = GenerateDialect(served=lambda name: f"{name}-2").written(asked(adapter="a", images=(PNG,)))[1]
    assert body["lora_path"] == "a-2" and body["image_data"][0].startswith("data:image/png;base64,")


def chat_event(ids: list[int] | None, text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "choices": [
            {"index": 0, "delta": {"content": text}, "output_ids": ids, "finish_reason": finish, **more}
        ]
    }


def test_lmdeploy_gives_the_token_that_ends_an_answer_without_its_text() -> None:
    request = asked(SamplingParams(logprobs=0))
    assert LMDEPLOY.written(request)[0] == "/v1/chat/completions"
    events = [
        chat_event([5], "hel", output_token_logprobs=[[-0.1, 5]]),
        chat_event([6], "lo", output_token_logprobs=[[-0.2, 6]]),
        chat_event([2], "<|im_end|>", "stop", output_token_logprobs=[[-0.3, 2]]),
    ]
    deltas = read(LMDEPLOY, request, events)
    assert "".join(delta.text for delta in deltas) == "hello" and deltas[-1].finish_reason == "stop"
    assert [token for delta in deltas for token in delta.token_ids] == [5, 6, 2]
    assert [value for delta in deltas for value in delta.logprobs or ()] == [-0.1, -0.2, -0.3]


def test_lmdeploy_by_generate() -> None:
    request = asked(SamplingParams(logprobs=1, stop_token_ids=(7,)))
    path, body = LMDEPLOY.written(request)
    assert path == "/generate" and body["top_logprobs_num"] == 1 and body["top_k"] == 0
    meta = {"output_token_logprobs": [[-0.1, 5]], "output_top_logprobs": [[[-0.1, 5]]], "finish_reason": None}
    event = {"text": "a", "output_ids": [5], "meta_info": meta}
    last = {"text": "", "output_ids": [], "meta_info": {"finish_reason": {"type": "length"}}}
    deltas = read(LMDEPLOY, request, [event, last])
    assert deltas[0].top_logprobs == ({5: -0.1},) and deltas[-1].finish_reason == "length"


def test_lmdeploy_stop_strings_are_cut_here() -> None:
    request = asked(SamplingParams(stop=("lo w",)))
    assert "stop" not in LMDEPLOY.written(request)[1]  # it would end at any token that holds the string
    deltas = read(
        LMDEPLOY, request, [chat_event([5], "hello"), chat_event([6], " world"), chat_event([7], "!")]
    )
    assert "".join(delta.text for delta in deltas) == "hel" and deltas[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    ("sampling", "word"),
    [
        (SamplingParams(frequency_penalty=0.5), "frequency_penalty"),
        (SamplingParams(logprobs=2, seed=1), "seed 1"),
        (SamplingParams(stop_token_ids=(3,), logit_bias=((1, 1.0),)), "logit_bias"),
        (SamplingParams(constraint=Constraint("grammar", 'root ::= "a"')), "grammar"),
    ],
)
def test_lmdeploy_refuses_what_it_has_not(sampling: SamplingParams, word: str) -> None:
    with pytest.raises(Unsupported, match=word):
        LMDEPLOY.written(asked(sampling))


VLLM = VllmDialect(lambda name: "model" if name is None else f"{name}-1", images=True)


def vllm_event(ids: list[int], text: str, finish: str | None = None, tops: Any = None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "token_ids": ids, "text": text, "finish_reason": finish}
    if tops is not None:
        names = [
            [{"token": f"token_id:{token}", "logprob": value} for token, value in row.items()] for row in tops
        ]
        choice["logprobs"] = {"content": [{**row[0], "top_logprobs": row} for row in names]}
    return {"request_id": "r", "choices": [choice]}


def test_vllm_takes_images_beside_token_ids() -> None:
    request = asked(SamplingParams(9, logprobs=2, stop=("x",)), adapter="a", images=(PNG,))
    path, body = VLLM.written(request)
    assert path == "/inference/v1/generate" and body["token_ids"] == [1, 2] and body["model"] == "a-1"
    assert base64.b64decode(body["content_parts"][0]["url"].partition(",")[2]) == PNG
    assert body["sampling_params"]["logprobs"] == 3  # the drawn one takes a place: here 7, the least likely
    events = [
        vllm_event([7], "a", None, [{7: -9.0, 4: -0.1, 5: -0.2}]),
        vllm_event([4], "b", "stop", [{4: -0.1, 5: -0.2, 6: -0.3}]),
    ]
    deltas = read(VLLM, request, events)
    assert [delta.token_ids for delta in deltas] == [(7,), (4,), ()] and deltas[-1].finish_reason == "stop"
    assert [delta.logprobs for delta in deltas[:2]] == [(-9.0,), (-0.1,)]
    assert [delta.top_logprobs for delta in deltas[:2]] == [({4: -0.1, 5: -0.2},)] * 2
    assert VLLM.written(asked())[0] == "/v1/completions" and VLLM.written(asked())[1]["model"] == "model"
    with pytest.raises(Unsupported, match="takes no images"):
        VllmDialect(str).written(request)


def test_images_take_their_places() -> None:
    content = [{"type": "text", "text": "what is"}, {"type": "image"}, {"type": "text", "text": "this?"}]
    messages = ({"role": "user", "content": content},)
    for dialect in (ChatDialect("m"), LMDEPLOY):
        body = dialect.written(asked(messages=messages, images=(PNG,)))[1]
        url = body["messages"][0]["content"][1]["image_url"]["url"]
        assert base64.b64decode(url.partition(",")[2]) == PNG
    assert "image_url" not in content[1]
    for images in ((PNG, PNG), ()):
        wrong = ({"role": "user", "content": [*content, *([{"type": "image"}] if images else [])]},)
        if images:
            ChatDialect("m").written(asked(messages=wrong, images=images))
            with pytest.raises(Unsupported, match="no place"):
                ChatDialect("m").written(asked(messages=messages, images=images))
            with pytest.raises(Unsupported, match="more places"):
                ChatDialect("m").written(asked(messages=wrong, images=(PNG,)))


def test_tools_and_their_choice_are_passed_on() -> None:
    tools = ({"type": "function", "function": {"name": "f"}},)
    body = ChatDialect("m").written(
        asked(messages=({"role": "user", "content": "x"},), tools=tools, tool_choice="required")
    )[1]
    assert body["tools"] == list(tools) and body["tool_choice"] == "required"


@pytest.mark.parametrize(
    "texts", [["yes", "no"], ["a.b", "c|d (e)", "[f]{2}", "g\\h", "^$*+?", "grüße \n x"]]
)
def test_choices_are_exactly_the_texts(texts: list[str]) -> None:
    """By xgrammar itself, which SGLang and LMDeploy compile such expressions with."""
    grammar = xgrammar.Grammar.from_regex(choice_regex(json.dumps(texts)))
    info = xgrammar.TokenizerInfo(["<e>"], stop_token_ids=[0])
    compiled = xgrammar.GrammarCompiler(info).compile_grammar(grammar)
    for text in [*texts, "yesno", "axb", "c", "", texts[0][:-1]]:
        matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
        whole = matcher.accept_string(text) and matcher.is_terminated() if text else False
        assert whole is (text in texts), text
