from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from swift.core.errors import ConfigError, DataError, ModelError
from swift.core.template.builtin import chat_template
from swift.core.template.chat import ChatTemplate
from swift.core.template.media import MediaInputs
from swift.core.types import IGNORE_INDEX, Conversation, Encoded, Message

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
LATER = {"role": "assistant", "content": "Later"}


def learned(tokenizer: PreTrainedTokenizerFast, encoded: Encoded) -> str:
    return str(tokenizer.decode(encoded.labels[encoded.labels != IGNORE_INDEX]))


def encode(tokenizer: PreTrainedTokenizerFast, row: Conversation, **settings: Any) -> list[Encoded]:
    return ChatTemplate(tokenizer, **{"max_length": 4096, **settings}).encode([row])


@pytest.mark.parametrize(
    ("turns", "settings", "text"),
    [
        ([USER, ANSWER, USER, LATER], {}, "Ho<|im_end|>Later<|im_end|>"),
        ([USER, ANSWER, USER, LATER], {"loss_turns": "last"}, "Later<|im_end|>"),
        (
            [USER, {**ANSWER, "loss": True}, USER, LATER],
            {"loss_turns": "last"},
            "Ho<|im_end|>Later<|im_end|>",
        ),
        ([USER, ANSWER, USER, {**LATER, "loss": False}], {}, "Ho<|im_end|>"),
        ([USER, {"role": "assistant", "content": "<|im_end|> odd "}], {}, "<|im_end|> odd <|im_end|>"),
    ],
)
def test_labels(turns: Any, settings: Any, text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    (encoded,) = encode(tokenizer, Conversation(messages=turns), **settings)
    assert learned(tokenizer, encoded) == text


def test_an_answer_marked_undesirable_is_not_learned(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match=r"(?s)a\.jsonl:3.*undesirable.*data\.on_error=skip"):
        encode(tokenizer, Conversation(messages=[USER, ANSWER], label=False, origin="a.jsonl:3"))
    (kept,) = encode(tokenizer, Conversation(messages=[USER, ANSWER], label=True))
    assert kept.columns["label"] is True


def test_tool_calls_are_learned_and_results_are_not(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(chat_template("chatml"))
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    turns: list[Message] = [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "7"},
        ANSWER,
    ]
    row = Conversation(messages=turns, tools=[{"type": "function", "function": {"name": "f"}}])
    (encoded,) = encode(tokenizer, row)
    assert learned(tokenizer, encoded) == (
        '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call><|im_end|>Ho<|im_end|>'
    )


def test_other_tasks(tokenizer: PreTrainedTokenizerFast) -> None:
    row = Conversation(messages=[USER, ANSWER], rejected=[USER, LATER])
    (pair,) = encode(tokenizer, row, task="preference")
    assert pair.rejected is not None
    assert (learned(tokenizer, pair), learned(tokenizer, pair.rejected)) == (
        "Ho<|im_end|>",
        "Later<|im_end|>",
    )
    (prompt,) = encode(tokenizer, row, task="prompt")
    assert tokenizer.decode(prompt.input_ids) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert learned(tokenizer, prompt) == "" and prompt.columns["answer"] == "Ho"
    (text,) = encode(tokenizer, Conversation(text="some text"), task="text")
    assert learned(tokenizer, text) == "some text<|im_end|>"


def test_truncation(tokenizer: PreTrainedTokenizerFast) -> None:
    row = Conversation(text="abcdefghij " * 10)
    (whole,) = encode(tokenizer, row, task="text")
    ids, half = whole.input_ids.tolist(), len(whole.input_ids) // 2 + 1
    kept = {
        how: [
            piece.input_ids.tolist()
            for piece in encode(tokenizer, row, task="text", max_length=half, truncation=how)
        ]
        for how in ("right", "left", "delete", "split")
    }
    assert kept == {
        "right": [ids[:half]],
        "left": [ids[-half:]],
        "delete": [],
        "split": [ids[:half], ids[half:]],
    }
    template = ChatTemplate(tokenizer, max_length=half, task="text")
    assert template.encode([row, Conversation(text="x")])[0].input_ids.size < half
    assert (template.statistics.dropped, template.statistics.shortest_dropped) == (1, len(ids))
    with pytest.raises(ConfigError, match="split"):
        ChatTemplate(tokenizer, max_length=8, truncation="split", task="preference")


def test_clear_errors(make_tokenizer: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelError, match=r"(?s)no chat template.*model\.chat_template.*chatml"):
        ChatTemplate(make_tokenizer(None), max_length=8)
    with pytest.raises(DataError, match="f:3: no assistant turn"):
        encode(tokenizer, Conversation(messages=[USER], origin="f:3"))
    with pytest.raises(DataError, match="f:3: the row has no messages"):
        encode(tokenizer, Conversation(origin="f:3"))
    with pytest.raises(DataError, match=r"(?s)f:3.*swift-mm"):
        encode(tokenizer, Conversation(messages=[USER, ANSWER], images=["a.png"], origin="f:3"))
    with pytest.raises(DataError, match="f:3: the chat template cannot render"):
        encode(make_tokenizer("mistral"), Conversation(messages=[USER, USER, ANSWER], origin="f:3"))


class Images:
    placeholder = "<|endoftext|>"

    def prepare(self, conversation: Conversation) -> MediaInputs:
        count = len(conversation.images)
        return MediaInputs({"pixels": torch.zeros(count, 2)}, ["<|eot|>" * (i + 2) for i in range(count)])


def test_placeholders_grow_and_labels_move_along(tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [{"role": "user", "content": "a<|endoftext|>b<|endoftext|>"}, ANSWER]
    row = Conversation(messages=messages, images=["1", "2"], origin="f:1")
    (encoded,) = encode(tokenizer, row, media=Images())
    assert encoded.media is not None and encoded.media["pixels"].shape == (2, 2)
    assert "a<|eot|><|eot|>b<|eot|><|eot|><|eot|><|im_end|>" in tokenizer.decode(encoded.input_ids)
    assert learned(tokenizer, encoded) == "Ho<|im_end|>"
