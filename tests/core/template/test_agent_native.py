"""Tool-calling rows through the families' own templates, and what rows are refused."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from swift.core.data.formats import to_conversation
from swift.core.errors import DataError
from swift.core.template.agent.build import build_agent_format
from swift.core.template.chat import ChatTemplate
from swift.core.types import IGNORE_INDEX

TURN_TOKENS = [
    "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|user|>", "<|assistant|>", "<|observation|>",
    "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>",  # noqa: RUF001
]  # fmt: skip

MISTRAL_V3 = """{{- bos_token }}
{%- for m in messages %}
{%- if m.role == 'user' %}
{%- if tools and (messages[loop.index0:] | selectattr('role', 'equalto', 'user') | list | length) == 1 %}
{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}
{{- '[INST]' + m.content + '[/INST]' }}
{%- elif m.role == 'tool' %}
{{- '[TOOL_RESULTS]{"content": ' + (m.content | tojson) }}
{{- ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- elif m.tool_calls %}{{- '[TOOL_CALLS][' }}
{%- for call in m.tool_calls %}
{{- '{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) }}
{{- ', "id": "' + call.id + '"}' }}{{- ', ' if not loop.last }}{% endfor %}{{- ']' + eos_token }}
{%- else %}{{- m.content + eos_token }}{% endif %}{% endfor %}"""

TOOL = {"name": "weather", "description": "Weather now.", "parameters": {"type": "object", "properties": {}}}


def call(number: int, city: str) -> dict[str, Any]:
    arguments = json.dumps({"city": city}) if number % 2 else {"city": city}
    return {
        "id": f"call{number:05d}",
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
    }


def result(number: int, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call{number:05d}", "content": content}


def row(parallel: bool, worded: str | None = None) -> dict[str, Any]:
    asked = [call(1, "Rome"), call(2, "Oslo")] if parallel else [call(1, "Rome")]
    return {
        "tools": [TOOL],
        "messages": [
            {"role": "user", "content": "What is it like?"},
            {"role": "assistant", "content": worded, "tool_calls": asked},
            *(result(each["id"] and number, f"RESULT{number}") for number, each in enumerate(asked, 1)),
            {"role": "assistant", "content": "Fine."},
            {"role": "user", "content": "And there?"},
            {"role": "assistant", "content": None, "tool_calls": [call(3, "Bern")]},
            result(3, {"now": "RESULT3"}),
            {"role": "assistant", "content": "Good."},
        ],
    }


def original(name: str) -> str:
    """A family's own chat template, as TRL ships it."""
    if name == "mistral_v3":
        return MISTRAL_V3
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    return (folder / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.fixture
def tokenizer_of(make_tokenizer: Any) -> Any:
    def make(name: str) -> PreTrainedTokenizerFast:
        backend = copy.deepcopy(make_tokenizer().backend_tokenizer)
        backend.add_special_tokens(TURN_TOKENS)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend, eos_token="</s>", pad_token="<|endoftext|>", bos_token="<s>"
        )
        tokenizer.chat_template = original(name)
        return tokenizer

    return make


def texts(tokenizer: Any, given: dict[str, Any], **settings: Any) -> tuple[str, str]:
    (encoded,) = ChatTemplate(tokenizer, max_length=8192, **settings).encode([to_conversation(given, "f:1")])
    return (
        tokenizer.decode(encoded.labels[encoded.labels != IGNORE_INDEX]),
        tokenizer.decode(encoded.input_ids),
    )


QWEN = '<tool_call>\n{{"name": "weather", "arguments": {{"city": "{}"}}}}\n</tool_call>'
XML = "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>{}</arg_value>\n</tool_call>"
LLAMA = '{{"name": "weather", "parameters": {{"city": "{}"}}}}'
MISTRAL = '[TOOL_CALLS][{{"name": "weather", "arguments": {{"city": "{}"}}, "id": "{}"}}]</s>'
CODER = "<tool_call>\n<function=weather>\n<parameter=city>\n{}\n</parameter>\n</function>\n</tool_call>"
IM, EOT, EMPTY, GLM = "<|im_end|>", "<|eot_id|>", "<think>\n\n</think>\n\n", "\n<think></think>\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen2_5", [QWEN.format("Rome"), IM, "Fine.", IM, QWEN.format("Bern"), IM, "Good.", IM]),
        ("qwen3", [QWEN.format("Rome"), IM, "Fine.", IM, QWEN.format("Bern"), IM, EMPTY, "Good.", IM]),
        ("qwen3_5_nothink", [CODER.format("Rome"), IM, "Fine.", IM, CODER.format("Bern"), IM, "Good.", IM]),
        ("llama3_1", [LLAMA.format("Rome"), EOT, "Fine.", EOT, LLAMA.format("Bern"), EOT, "Good.", EOT]),
        (
            "mistral_v3",
            [
                MISTRAL.format("Rome", "call00001"),
                "Fine.</s>",
                MISTRAL.format("Bern", "call00003"),
                "Good.</s>",
            ],
        ),
        (
            "glm4moe",
            [GLM, XML.format("Rome"), GLM, "Fine.", GLM, XML.format("Bern"), GLM, "Good."],
        ),
    ],
)
def test_calls_are_learned_and_results_are_not(name: str, expected: list[str], tokenizer_of: Any) -> None:
    learned, whole = texts(tokenizer_of(name), row(parallel=False))
    assert learned == "".join(expected)
    assert all(f"RESULT{number}" in whole for number in (1, 3)) and "Weather now." in whole


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_5_nothink", "mistral_v3", "glm4moe"])
def test_parallel_calls_and_words_beside_them(name: str, tokenizer_of: Any) -> None:
    learned, whole = texts(
        tokenizer_of(name), row(parallel=True, worded=None if "mis" in name else "Let me see.")
    )
    assert learned.count("Rome") == learned.count("Oslo") == 1 and "RESULT" not in learned
    assert whole.index("RESULT1") < whole.index("RESULT2")
    assert ("Let me see." in learned) == ("mis" not in name)


def test_a_template_that_wants_arguments_as_text(tokenizer_of: Any) -> None:
    given = row(parallel=True)
    learned, _ = texts(tokenizer_of("deepseekv3"), {"messages": given["messages"]})
    assert (
        '{"city": "Rome"}\n```' in learned and '{"city": "Oslo"}\n```' in learned and "RESULT" not in learned
    )
    assert learned.startswith("<｜tool▁calls▁begin｜>")  # noqa: RUF001


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("phi3", row(parallel=False), "would leave out the tools"),
        ("llama3", {"messages": row(parallel=False)["messages"]}, "would leave out tool calls"),
        (
            "deepseek_r1_distill",
            {"messages": row(parallel=False, worded="Hm.")["messages"]},
            "would leave out the tool calls of a turn that also has content",
        ),
        ("llama3_1", row(parallel=True), "only supports single tool-calls"),
        ("gemma4", row(parallel=False, worded="Hm."), "puts a tool's result inside an assistant turn"),
    ],
)
def test_what_a_template_would_lose_is_refused_and_a_format_helps(
    name: str, given: dict[str, Any], problem: str, tokenizer_of: Any
) -> None:
    tokenizer = tokenizer_of(name)
    with pytest.raises(DataError, match=rf"(?s)f:1: .*{problem}.*data\.agent_format"):
        texts(tokenizer, given)
    learned, _ = texts(tokenizer, given, agent=build_agent_format("hermes"))
    assert QWEN.format("Rome") in learned and "RESULT" not in learned


def test_a_template_without_system_turn_gets_the_tools_in_the_first_question(make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}"
        "{{ '<|im_end|>\\n' }}{% endfor %}"
    )
    _, whole = texts(tokenizer, row(parallel=True), agent=build_agent_format("hermes"))
    assert whole.startswith("<|im_start|>user\n# Tools") and "\n\nWhat is it like?<|im_end|>" in whole


def sharegpt(*turns: tuple[str, str], tools: Any = None) -> dict[str, Any]:
    conversations = [{"from": speaker, "value": value} for speaker, value in turns]
    return {"conversations": conversations, "tools": tools}


CALL = '{"name": "weather", "arguments": {"city": "Rome"}}'


def test_words_and_calls_that_follow_them_are_one_turn() -> None:
    given = sharegpt(
        ("human", "?"), ("gpt", "Hm."), ("function_call", CALL), ("function_call", CALL),
        ("observation", "1"), ("observation", "2"), ("gpt", "Ok."),
    )  # fmt: skip
    conversation = to_conversation(given, "f:1")
    assert [message["role"] for message in conversation.messages] == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert conversation.messages[1]["content"] == "Hm." and len(conversation.messages[1]["tool_calls"]) == 2
    assert "tool_calls" not in given["conversations"][1]


def test_results_and_tools_in_other_spellings() -> None:
    given = sharegpt(("human", "?"), ("function_call", CALL), ("gpt", "Ok."), tools=['{"name": "weather"}'])
    assert to_conversation(given, "f:1").tools == [{"type": "function", "function": {"name": "weather"}}]
    messages = [*row(parallel=False)["messages"][:2], {"role": "tool", "content": {"a": [1, "ü"]}}]
    assert to_conversation({"messages": messages}, "f:1").messages[2]["content"] == '{"a": [1, "ü"]}'


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (sharegpt(("human", "?"), ("function_call", "{broken"), ("gpt", "Ok.")), "is not JSON"),
        (
            sharegpt(("human", "?"), ("function_call", '{"name": "weather", "arguments": "[1]"}')),
            r"arguments of the function call 'weather' are \[1\]",
        ),
        (
            sharegpt(("human", "?"), ("function_call", CALL), ("gpt", "Ok."), tools='[{"name": "wether"}]'),
            r"(?s)'weather' is called, which is not in tools.*did you mean 'wether'",
        ),
        (sharegpt(("human", "?"), ("observation", "1"), ("gpt", "Ok.")), "follows no call"),
        (
            sharegpt(("human", "?"), ("function_call", CALL), ("observation", "1"), ("observation", "2")),
            "2 results follow 1 tool calls",
        ),
        (
            {"messages": [*row(parallel=False)["messages"][:2], result(9, "1")]},
            r"'call00009' follows the calls 'call00001'",
        ),
        (sharegpt(("human", "?"), ("gpt", "Ok."), tools='[{"description": "?"}]'), "has no name"),
        (sharegpt(("human", "?"), ("gpt", "Ok."), tools="[{"), "tools column .* is not JSON"),
    ],
)
def test_bad_rows(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=rf"f:1: .*{problem}" if "(?s)" not in problem else problem):
        to_conversation(given, "f:1")
