"""Whatever path a row takes, tokens and labels equal those of apply_chat_template."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from swift.core.template.chat import ChatTemplate
from swift.core.template.constants import analyse
from swift.core.template.words import WordMemory, has_safe_cuts
from swift.core.types import IGNORE_INDEX, Conversation

TEMPLATES = ["chatml", "llama3", "qwen3", "mistral", "gemma"]
KINDS = ["gpt2", "qwen", "prefix"]

awkward = st.sampled_from(
    [
        "hello", " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\x1c", "\u2028", "don't", "'S", "x=1",
        "<think>", "</think>", "<|im_end|>", "<|eot|>", "[INST]", "<s>", "<tool_response>", "12 345",
        "</tool_response>", "user", "assistant", "model", "中文", "e\u0301", "\u212a", "🎉", "...", "!\n",
        "{%", "}}", '"', "\\", "<", "<|im_",
    ]
)  # fmt: skip
contents = st.one_of(st.lists(awkward, min_size=1, max_size=8).map("".join), st.text(min_size=1, max_size=30))


def expected(
    tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, Any]]
) -> tuple[list[int], list[int]]:
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    mask = np.array(rendered["assistant_masks"], dtype=bool)
    return rendered["input_ids"], np.where(mask, rendered["input_ids"], IGNORE_INDEX).tolist()


def turns(texts: list[str], system: bool) -> list[dict[str, Any]]:
    roles = ["user", "assistant"] * (len(texts) // 2)
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return [{"role": "system", "content": "Be brief."}, *messages] if system else messages


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_ordinary_rows_take_the_compiled_path_and_are_exact(
    name: str, kind: str, make_tokenizer: Any
) -> None:
    tokenizer = make_tokenizer(name, kind)
    template = ChatTemplate(tokenizer, max_length=4096)
    texts = [["Hi there", "Hello, you!"], ["One", "Two.\n\n* three\n* four", "Five  six?", "naïve 中文 done"]]
    rows = [turns(row, system) for row in texts for system in (False, True)]
    for row, encoded in zip(rows, template.encode([Conversation(messages=row) for row in rows]), strict=True):
        assert (encoded.input_ids.tolist(), encoded.labels.tolist()) == expected(tokenizer, row)
    shapes = [
        shape
        for (roles, *_), shape in template.shapes.known.items()
        if name != "mistral" or roles[0] != "system"  # that template drops the system turn of such rows
    ]
    assert all(shape is not None for shape in shapes)
    if (
        kind != "prefix" and name != "mistral"
    ):  # Mistral's last turn puts two contents between two added tokens
        assert all(shape is not None and shape[1] is not None for shape in shapes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["chatml", "qwen3", "mistral"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_awkward_contents_give_the_tokens_of_the_real_template(
    name: str, kind: str, make_tokenizer: Any, data: st.DataObject
) -> None:
    tokenizer = make_tokenizer(name, kind)
    template = ChatTemplate(tokenizer, max_length=4096)
    rows = data.draw(
        st.lists(
            st.lists(contents, min_size=2, max_size=4).filter(lambda texts: len(texts) % 2 == 0), max_size=4
        )
    )
    for texts in [["Hi", "Ho"], *rows]:
        messages = turns(texts, system=False)
        (encoded,) = template.encode([Conversation(messages=messages)])
        assert encoded.input_ids.tolist() == expected(tokenizer, messages)[0]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(texts=st.lists(contents, min_size=1, max_size=5))
@pytest.mark.parametrize("kind", ["gpt2", "qwen"])
def test_cut_texts_have_the_tokens_of_whole_texts(
    kind: str, backends: dict[str, Tokenizer], texts: list[str]
) -> None:
    backend = backends[kind]
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    texts = [text for text in texts if not any(token in text for token in added)]
    encoded, _ = WordMemory(backend).encode(texts)
    for text, found in zip(texts, encoded, strict=True):
        assert np.frombuffer(found, "<i4").tolist() == backend.encode(text, add_special_tokens=False).ids


def test_only_listed_tokenizers_are_cut(backends: dict[str, Tokenizer]) -> None:
    assert {kind: has_safe_cuts(backend) for kind, backend in backends.items()} == {
        "gpt2": True,
        "qwen": True,
        "prefix": False,
    }


@pytest.mark.parametrize(
    "code",
    [
        "{{ m.content | upper }}",
        "{{ m.content[:3] }}",
        "{{ m.content.split('and')[0] }}",
        "{{ m.content | replace('a', 'b') }}",
        "{% if m.content | length > 5 %}long{% endif %}{{ m.content }}",
        "{% set word = 'and' %}{% if word in m.content %}!{% endif %}{{ m.content }}",
        "{% if m == messages[0] %}first{% endif %}{{ m.content }}",
        "{{ m.content | tojson }}",
        "{{ m.content.strip('x') }}",
    ],
)
def test_templates_that_look_into_contents_stay_exact(code: str, make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ m.role + ':' }}" + code + "{{ '<|im_end|>' }}{% endfor %}"
    )
    template = ChatTemplate(tokenizer, max_length=4096, task="text")
    texts = ["this and that", "abcdef", "xyz x", 'quo"te', "abc", "abc", "Bandana", "other"]
    for start in range(0, len(texts), 2):
        messages = turns(texts[start : start + 2], system=False)
        (encoded,) = template.encode([Conversation(messages=messages)])
        whole = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
        assert encoded.input_ids.tolist() == whole


def test_line_breaks_do_not_send_rows_of_a_stripping_template_the_slow_way(make_tokenizer: Any) -> None:
    constants = analyse(make_tokenizer("qwen3").chat_template)
    assert constants.parts == {"<think>", "</think>", "<tool_response>", "</tool_response>"}
    assert constants.ends == {"\n"}
    assert analyse(make_tokenizer("gemma").chat_template).parts == frozenset()
