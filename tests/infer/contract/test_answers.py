"""Tokens, text and reasons to end, as every engine must give them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.timeout(600)
TEXTS = ("def first(items):", "The quick brown fox jumps over the lazy dog and then", "x = 1")


def test_greedy_answers_are_those_of_generate(subject: Any) -> None:
    prompts = [subject.ids(text) for text in TEXTS]
    answers = subject.ask_all([subject.request(str(n), ids) for n, ids in enumerate(prompts)])
    for n, ids in enumerate(prompts):
        wanted = subject.model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[
            0, len(ids) :
        ]
        assert answers[str(n)].tokens == wanted.tolist()


def test_deltas_add_up(subject: Any) -> None:
    async def read() -> list[Any]:
        return [delta async for delta in subject.engine.stream(subject.request("streamed", max_tokens=20))]

    deltas = asyncio.run(read())
    whole = subject.ask(max_tokens=20)
    assert [token for delta in deltas for token in delta.token_ids] == whole.tokens
    assert (
        "".join(delta.text for delta in deltas) == whole.text == subject.text(whole.tokens).rstrip("\ufffd")
    )
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert deltas[-1].finish_reason == "length"
    assert len(deltas) > 5


def test_a_stop_string_across_tokens_ends_the_text_before_it(subject: Any) -> None:
    whole = subject.ask(max_tokens=20)
    texts = [subject.text([token]) for token in whole.tokens]
    place = next(n for n in range(3, 20) if texts[n].strip() and texts[n + 1].strip())
    stop = texts[place][-1] + texts[place + 1][0]
    answer = subject.ask(max_tokens=20, stop=(stop, "never in it"))
    assert answer.text == whole.text[: whole.text.index(stop)]
    assert answer.reason == "stop"
    assert answer.tokens == whole.tokens[: len(answer.tokens)]
    assert len(answer.tokens) < 20


def test_stop_token(subject: Any) -> None:
    whole = subject.ask()
    place = next(n for n in range(2, 12) if whole.tokens[n] not in whole.tokens[:n])
    answer = subject.ask(stop_token_ids=(whole.tokens[place],))
    assert answer.tokens == whole.tokens[: place + 1]
    assert answer.text == subject.text(whole.tokens[:place])
    assert answer.reason == "stop"


def test_the_end_token_ends_unless_it_is_ignored(subject: Any) -> None:
    likely = ((subject.tokenizer.eos_token_id, 100.0),)
    answer = subject.ask(logit_bias=likely, max_tokens=4)
    assert (answer.tokens, answer.text) == ([subject.tokenizer.eos_token_id], "")
    assert answer.reason == "stop"
    longer = subject.ask(logit_bias=likely, max_tokens=4, ignore_eos=True)
    assert longer.tokens == [subject.tokenizer.eos_token_id] * 4
    assert longer.reason == "length"


def test_logprobs_are_those_of_a_forward_pass(subject: Any) -> None:
    ids = subject.ids()
    answer = subject.ask(ids, temperature=0.7, top_k=50, seed=1, logprobs=3)
    assert answer.logprobs == pytest.approx(subject.logprobs(ids, answer.tokens), abs=1e-3)
    best = subject.rows(ids, answer.tokens).topk(3)
    for row, top in enumerate(answer.top):
        assert list(top) == best.indices[row].tolist()
        assert list(top.values()) == pytest.approx(best.values[row].tolist(), abs=1e-3)
    assert len(answer.top) == len(answer.tokens) == 12


def test_logprobs_of_drawn_tokens_alone(subject: Any) -> None:
    answer = subject.ask(logprobs=0)
    assert answer.logprobs == pytest.approx(subject.logprobs(subject.ids(), answer.tokens), abs=1e-3)
    assert not any(answer.top)


def test_what_cannot_be_run_ends_with_its_reason_and_harms_nobody(subject: Any) -> None:
    longest = subject.facts.max_length
    requests = [
        subject.request("fine"),
        subject.request("long", (20,) * longest),
        subject.request("adapter", adapter="nobody"),
        subject.request("token", (20, len(subject.tokenizer) + 10_000)),
    ]
    answers = subject.ask_all(requests)
    for name in ("long", "adapter", "token"):
        assert answers[name].reason == "error", name
    assert str(longest) in answers["long"].error
    assert "nobody" in answers["adapter"].error
    assert answers["fine"].tokens == subject.ask().tokens


def test_an_answer_ends_with_the_context(subject: Any) -> None:
    longest = subject.facts.max_length
    answer = subject.ask((20,) * (longest - 3), max_tokens=50, ignore_eos=True)
    assert (len(answer.tokens), answer.reason) == (3, "length")
