"""Text that grows token by token equals the text decoded at once, character by whole character."""

from __future__ import annotations

from typing import Any

import pytest

from swift.core.models.tiny.family import tiny_tokenizer
from swift.infer.engines.transformers.detokenize import Detokenizer, decoder


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.mark.parametrize(
    "text", ["plain words, and more", "zażółć 你好世界 😀🏳️‍🌈 end", "  a\n\n b\t", "日本語" * 30]
)
def test_pieces_are_whole_characters(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    detokenizer = Detokenizer(decoder(tokenizer))
    pieces = [detokenizer.push(token) for token in ids]
    assert "".join(pieces) + detokenizer.finish() == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert len([piece for piece in pieces if piece]) > 1  # it streams


def test_an_unfinished_character_is_dropped(tokenizer: Any) -> None:
    ids = tokenizer("a😀", add_special_tokens=False)["input_ids"][:-1]
    detokenizer = Detokenizer(decoder(tokenizer))
    assert "".join(map(detokenizer.push, ids)) + detokenizer.finish() == "a"


def test_bytes_that_are_no_text_do_not_block(tokenizer: Any) -> None:
    half = tokenizer("😀", add_special_tokens=False)["input_ids"][0]
    ids = [half] * 40 + tokenizer(" end", add_special_tokens=False)["input_ids"]
    detokenizer = Detokenizer(decoder(tokenizer))
    assert ("".join(map(detokenizer.push, ids)) + detokenizer.finish()).endswith(" end")


@pytest.mark.parametrize(
    ("stop", "wanted"), [(["stop"], "one two "), (["never"], "one two stop three"), (["o"], "")]
)
def test_stop_strings_end_the_text(tokenizer: Any, stop: list[str], wanted: str) -> None:
    detokenizer = Detokenizer(decoder(tokenizer), stop)
    text = ""
    for token in tokenizer("one two stop three", add_special_tokens=False)["input_ids"]:
        text += detokenizer.push(token)
        assert wanted.startswith(text)  # nothing of a stop string is ever shown
        if detokenizer.stopped:
            break
    assert text + detokenizer.finish() == wanted


def test_a_stop_string_that_does_not_come_true_is_released(tokenizer: Any) -> None:
    detokenizer = Detokenizer(decoder(tokenizer), ["sto!"])
    ids = tokenizer("one sto", add_special_tokens=False)["input_ids"]
    assert "".join(map(detokenizer.push, ids)) + detokenizer.finish() == "one sto"
