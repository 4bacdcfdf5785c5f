"""Content filters between clients and the model, streams included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import openai
import pytest

from swift.core.protocols import AnswerWatch, ContentFilter
from swift.core.types import Message, Review
from swift.infer.server.filters.sensitive_words import SensitiveWords

TEXT = "Well, damn it. 这是敏感词。 Bye."
MASKED = "Well, **** it. 这是***。 Bye."
WORDS = ["damn", "敏感词"]
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
ASKED: dict[str, Any] = {"model": "tiny", "messages": HELLO}


def streamed(pieces: Any) -> tuple[str, str | None]:
    text, reason = "", None
    for piece in pieces:
        for choice in piece.choices:
            text += (choice.delta.content if hasattr(choice, "delta") else choice.text) or ""
            reason = choice.finish_reason or reason
    return text, reason


def test_masks_answers_and_prompts(scripted: Any, serve: Any) -> None:
    served, engine = scripted(TEXT, filters=[SensitiveWords(WORDS)])
    with serve(served) as client:
        whole = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Damn!"}])
        assert whole.choices[0].message.content == MASKED
        assert streamed(client.chat.completions.create(**ASKED, stream=True)) == (MASKED, "stop")
        assert client.completions.create(model="tiny", prompt="x").choices[0].text == MASKED
        assert streamed(client.completions.create(model="tiny", prompt="x", stream=True)) == (MASKED, "stop")
        for shown in ({"logprobs": True}, {"extra_body": {"return_token_ids": True}}):
            with pytest.raises(openai.BadRequestError, match="content filters"):
                client.chat.completions.create(**ASKED, **shown)
        ids = served.tokenizer("damn")["input_ids"]
        with pytest.raises(openai.BadRequestError, match="as text"):
            client.completions.create(model="tiny", prompt=ids)
    assert engine.asked[0].messages[0]["content"] == "****!"


@pytest.mark.parametrize("action", ["stop", "refuse"])
def test_ends_answers_and_generation(scripted: Any, serve: Any, action: Any) -> None:
    served, engine = scripted(TEXT + " more" * 1000, filters=[SensitiveWords(WORDS, action=action)])
    with serve(served) as client:
        whole = client.chat.completions.create(**ASKED)
        assert whole.choices[0].message.content == "Well, "
        assert whole.choices[0].finish_reason == "content_filter"
        assert engine.given < 50, "the engine was not left to go on"
        assert streamed(client.chat.completions.create(**ASKED, stream=True)) == ("Well, ", "content_filter")
        text = client.completions.create(model="tiny", prompt="x", stream=True)
        assert streamed(text) == ("Well, ", "content_filter")
        if action == "refuse":
            with pytest.raises(openai.BadRequestError) as caught:
                client.chat.completions.create(
                    model="tiny",
                    messages=[{"role": "user", "content": "ＤＡＭＮ"}],  # noqa: RUF001
                )
            assert caught.value.code == "content_filter"


class Facts(ContentFilter):
    """Says what is wrong, and corrects it."""

    def watch(self) -> AnswerWatch:
        return SensitiveWords(["nothing"]).watch()

    async def review(self, messages: Sequence[Message], answer: str) -> Review:
        assert messages[0]["content"]
        return Review("2 and 2 is 4", answer.replace("5", "4"))


def test_reviews_of_finished_answers(scripted: Any, serve: Any) -> None:
    served, _ = scripted("2 and 2 is 5", filters=[Facts()])
    with serve(served) as client:
        choice = client.chat.completions.create(**ASKED).choices[0]
        assert choice.message.content == "2 and 2 is 4"
        assert choice.model_dump()["note"] == "2 and 2 is 4"
        last = list(client.chat.completions.create(**ASKED, stream=True))[-1].choices[0]
        assert last.finish_reason == "stop" and last.model_dump()["note"] == "2 and 2 is 4"
        text = client.completions.create(model="tiny", prompt="x").choices[0]
        assert text.text == "2 and 2 is 4"


class Broken(ContentFilter):
    """Fails at the first answer."""

    def watch(self) -> AnswerWatch:
        return BrokenWatch()


class BrokenWatch(AnswerWatch):
    def push(self, text: str) -> str:
        raise KeyError(text)


def test_nothing_passes_a_filter_that_fails(scripted: Any, serve: Any) -> None:
    served, _ = scripted(TEXT, filters=[Broken()])
    with serve(served) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**ASKED)
        assert caught.value.code == "content_filter_failed" and "Well" not in caught.value.message
        answer = httpx.post(f"{client.base_url}chat/completions", json={**ASKED, "stream": True})
        assert "content_filter_failed" in answer.text and "Well" not in answer.text
