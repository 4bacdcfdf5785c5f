"""Agent formats: what they write is what the families' own templates write, and comes back when parsed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.core.config.schema import DataConfig
from swift.core.data.formats import to_conversation
from swift.core.errors import DataError, PluginError, RegistryError
from swift.core.registry import agent_formats
from swift.core.template.agent.build import build_agent_format
from swift.core.template.agent.convert import plain_messages
from swift.core.template.agent.format import AgentFormat, ToolCall, function_of, make_call
from swift.core.template.build import shown_rows
from swift.core.template.chat import ChatTemplate
from swift.core.types import IGNORE_INDEX, Conversation, Encoded, Message
from swift.plugin import register_agent_format

NAMES = ["hermes", "react", "qwen", "llama3", "mistral", "glm", "deepseek"]
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}
SYSTEM: Message = {"role": "system", "content": "Be brief."}
USER: Message = {"role": "user", "content": "Rome and Oslo?"}
DONE: Message = {"role": "assistant", "content": "Warm, cold."}


def call(number: int, city: str) -> ToolCall:
    return make_call("weather", {"city": city, "days": number}, f"call{number:05d}")


CALLER: Message = {"role": "assistant", "content": "", "tool_calls": [call(1, "Rome"), call(2, "Oslo")]}
WORDED: Message = {
    "role": "assistant",
    "content": "Let me look.",
    "tool_calls": [call(1, "Rome"), call(2, "Oslo")],
}
RESULTS: list[Message] = [
    {"role": "tool", "content": '{"now": "warm"}', "tool_call_id": "call00001"},
    {"role": "tool", "content": "freezing", "tool_call_id": "call00002"},
]
TURNS: list[Message] = [SYSTEM, USER, CALLER, *RESULTS, DONE]


@pytest.fixture(autouse=True)
def registry_as_before() -> Iterator[None]:
    before = agent_formats.registered()
    yield
    agent_formats.restore(before)


def learned(tokenizer: Any, encoded: Encoded) -> str:
    return str(tokenizer.decode(encoded.labels[encoded.labels != IGNORE_INDEX]))


def original(name: str) -> str:
    """A family's own chat template, as TRL ships it."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "chat_templates"
    return (folder / f"{name}.jinja").read_text(encoding="utf-8")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
tool_calls = st.lists(
    st.builds(
        make_call,
        st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_.-]{0,12}", fullmatch=True),
        st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), json_values, max_size=4),
    ),
    min_size=1,
    max_size=3,
)
words = st.lists(
    st.sampled_from(["Let", "me", "look", "中文", "[x]", "{", "}", "1;", "Action", "…"]), max_size=5
)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "glm"])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(calls=tool_calls, content=words.map(" ".join))
def test_parse_gives_back_what_calls_wrote(name: str, calls: list[ToolCall], content: str) -> None:
    agent = build_agent_format(name)
    assert agent.parse(agent.calls(calls, content)) == (content, calls)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    text=st.text(st.characters(exclude_characters="<"), max_size=12),
    count=st.integers(),
    others=st.lists(json_values.filter(lambda value: not isinstance(value, str)), max_size=2),
)
def test_glm_reads_the_type_of_a_value_in_the_schema(text: str, count: int, others: list[Any]) -> None:
    agent = build_agent_format("glm")
    calls = [make_call("weather", {"city": text, "days": count, "more": others})]
    assert agent.parse(agent.calls(calls, "Hm."), [TOOL]) == ("Hm.", calls)
    number = [make_call("weather", {"city": "5"})]
    assert function_of(agent.parse(agent.calls(number, ""))[1][0])["arguments"] == {"city": 5}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text",
    [
        "Just words.",
        "",
        '{"name": "x"}',
        "<tool_call>\n{broken\n</tool_call>",
        "[TOOL_CALLS]oops",
        "Action: x\n",
    ],
)
def test_text_that_is_no_call_stays_as_it_is(name: str, text: str) -> None:
    assert build_agent_format(name).parse(text) == (text, [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mistral", '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Rome"}, "id": "abcdef123"}]'),
        ("mistral", '[TOOL_CALLS]weather[ARGS]{"city": "Rome"}'),
        ("mistral", '[TOOL_CALLS]weather[CALL_ID]abcdef123[ARGS]{"city": "Rome"}'),
        ("llama3", '<|python_tag|>{"name": "weather", "parameters": {"city": "Rome"}}'),
        ("hermes", '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}'),
        ("react", 'Thought: so\nAction: weather\nAction Input: {"city": "Rome"}\nObservation:'),
        ("qwen", '✿FUNCTION✿: weather\n✿ARGS✿: {"city": "Rome"}\n✿RESULT✿'),
    ],
)
def test_variants_that_models_write_are_read(name: str, text: str) -> None:
    content, calls = build_agent_format(name).parse(text)
    assert [function_of(each) for each in calls] == [{"name": "weather", "arguments": {"city": "Rome"}}]
    assert content == ("Thought: so" if name == "react" else "")


@pytest.mark.parametrize("caller", [CALLER, WORDED])
def test_hermes_is_the_text_of_the_qwen_template(caller: Message, make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(original("qwen2_5"))
    turns = [SYSTEM, USER, caller, *RESULTS, DONE]
    native = tokenizer.apply_chat_template(turns, tools=[TOOL], tokenize=False)
    plain = plain_messages(turns, [TOOL], build_agent_format("hermes"))
    assert tokenizer.apply_chat_template(plain, tokenize=False) == native


@pytest.mark.parametrize(
    ("name", "template", "content", "count"),
    [
        ("hermes", "qwen2_5", "Let me look.", 2),
        ("hermes", "qwen3", "Let me look.", 2),
        ("llama3", "llama3_1", "", 1),
        ("glm", "glm4moe", "<think></think>\nLet me look.", 2),
        ("deepseek", "deepseekv3", "", 2),
    ],
)
def test_what_the_own_template_of_a_family_writes_is_read(
    name: str, template: str, content: str, count: int, make_tokenizer: Any
) -> None:
    tokenizer = make_tokenizer(original(template))
    calls = WORDED["tool_calls"][:count]
    turns = [USER, {**WORDED, "content": "Let me look." if content else "", "tool_calls": calls}]
    (encoded,) = ChatTemplate(tokenizer, max_length=4096).encode([Conversation(messages=turns, origin="f:1")])
    text = learned(tokenizer, encoded)
    for closing in ("<|im_end|>", "<|eot_id|>", "<｜end▁of▁sentence｜>"):  # noqa: RUF001
        text = text.removesuffix(closing)
    found = build_agent_format(name).parse(text, [TOOL])
    assert found[0].removeprefix("<think>\n\n</think>\n\n") == content
    assert [function_of(each) for each in found[1]] == [function_of(each) for each in calls]


@pytest.mark.parametrize("template", ["chatml", "llama3", "qwen3", "mistral", "gemma"])
@pytest.mark.parametrize("name", NAMES)
def test_one_data_set_trains_any_model(name: str, template: str, make_tokenizer: Any) -> None:
    tokenizer, agent = make_tokenizer(template), build_agent_format(name)
    row = to_conversation({"messages": TURNS[1:], "tools": [TOOL]}, "f:1")
    (encoded,) = ChatTemplate(tokenizer, max_length=4096, agent=agent).encode([row])
    text, whole = learned(tokenizer, encoded), tokenizer.decode(encoded.input_ids)
    assert "weather" in text and "Rome" in text and "Warm, cold." in text
    assert not any(result["content"] in text for result in RESULTS) and "Weather now." not in text
    assert all(result["content"].strip('{}"') in whole.replace("\\", "") for result in RESULTS)
    assert "Weather now." in whole
    answers = {"chatml": "<|im_end|>", "llama3": "<|eot|>", "qwen3": "<|im_end|>", "mistral": "</s>"}
    first = text.split(answers.get(template, "<end_of_turn>"))[0].removeprefix("<think>\n\n</think>\n\n")
    assert [function_of(each) for each in agent.parse(first, [TOOL])[1]] == [
        function_of(each) for each in CALLER["tool_calls"]
    ]


def test_rows_of_a_format_share_one_rendering(tokenizer: Any) -> None:
    agent = build_agent_format("hermes")
    template = ChatTemplate(tokenizer, max_length=4096, agent=agent)
    rows = [
        Conversation(
            messages=[USER, {**CALLER, "tool_calls": [call(n, "Rome")]}, RESULTS[0], DONE], tools=[TOOL]
        )
        for n in range(3)
    ]
    encoded = template.encode(rows)
    assert next(iter(template.shapes.known.values()))[1] is not None  # type: ignore[index]
    slow = [tokenizer.decode(each.input_ids) for each in encoded]
    assert slow == [
        tokenizer.apply_chat_template(
            [{k: m[k] for k in ("role", "content")} for m in plain_messages(row.messages, [TOOL], agent)],  # type: ignore[arg-type]
            tokenize=False,
        )
        for row in rows
    ]


def test_results_come_in_the_order_of_their_calls() -> None:
    turns = plain_messages([USER, CALLER, *reversed(RESULTS), DONE], None, build_agent_format("react"))
    assert turns[2]["content"] == 'Observation: {"now": "warm"}\nObservation: freezing'
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant"]


def test_rows_without_tools_stay_the_same_object(tokenizer: Any) -> None:
    row = Conversation(messages=[USER, DONE])
    agent = build_agent_format("react")
    (plain,) = ChatTemplate(tokenizer, max_length=99).encode([row])
    (same,) = ChatTemplate(tokenizer, max_length=99, agent=agent).encode([row])
    assert plain.input_ids.tolist() == same.input_ids.tolist()


def test_held_out_rows_are_asked_and_compared_as_they_are_trained(tokenizer: Any) -> None:
    row = Conversation(messages=TURNS[:3], tools=[TOOL])
    (shown,) = shown_rows([row], DataConfig(agent_format="hermes"), tokenizer)
    assert shown.tools is None and "# Tools" in shown.messages[0]["content"]
    assert shown.messages[-1]["content"].count("<tool_call>") == 2
    assert shown_rows([row], DataConfig(), tokenizer) == [row]


def test_both_sides_of_a_pair(tokenizer: Any) -> None:
    row = to_conversation(
        {"messages": [USER], "chosen": [CALLER, *RESULTS, DONE], "rejected": [DONE], "tools": [TOOL]}, "f:1"
    )
    template = ChatTemplate(tokenizer, max_length=4096, task="preference", agent=build_agent_format("hermes"))
    (pair,) = template.encode([row])
    assert pair.rejected is not None
    assert learned(tokenizer, pair).count("<tool_call>") == 2 and "freezing" not in learned(tokenizer, pair)
    assert learned(tokenizer, pair.rejected) == "Warm, cold.<|im_end|>"
    assert "# Tools" in tokenizer.decode(pair.rejected.input_ids)


def test_results_with_more_than_text_need_the_own_template() -> None:
    turns = [USER, CALLER, {"role": "tool", "content": [{"type": "image", "image": "a.png"}]}]
    with pytest.raises(DataError, match=r"(?s)f:1: the result of a tool holds more than text.*agent_format"):
        plain_messages(turns, None, build_agent_format("react"), origin="f:1")


class Good:
    """Numbers instead of names."""

    def system(self, tools: Any, system: str) -> str:
        return system + " | ".join(function_of(tool)["name"] for tool in tools)

    def calls(self, tool_calls: Any, content: str) -> str:
        return content + "CALL" + repr([function_of(each) for each in tool_calls])

    def results(self, results: Any) -> Message:
        return {"role": "user", "content": "; ".join(result["content"] for result in results)}

    def parse(self, text: str, tools: Any = None) -> tuple[str, list[ToolCall]]:
        content, _, found = text.partition("CALL")
        return content, [make_call(**function) for function in eval(found)]


def test_a_format_of_ones_own(tokenizer: Any) -> None:
    register_agent_format("numbers")(Good)
    agent = build_agent_format("numbers")
    (encoded,) = ChatTemplate(tokenizer, max_length=4096, agent=agent).encode(
        [Conversation(messages=TURNS, tools=[TOOL])]
    )
    assert learned(tokenizer, encoded).startswith("CALL[{'name': 'weather'")


def _fails(self: Any, *given: Any) -> Any:
    raise KeyError("oops")


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ({"parse": None}, r"parse\(?"),
        ({"system": _fails}, r"system\(tools, system\) fails: KeyError"),
        ({"system": lambda self, tools, system: "none"}, r"(?s)system\(.*\) returns 'none'.*names each tool"),
        ({"calls": lambda self, calls, content: 7}, r"(?s)calls\(.*\) returns 7.*holds the content"),
        ({"results": lambda self, results: "cold"}, r"(?s)results\(.*\) returns 'cold'.*role and content"),
        (
            {"parse": lambda self, text, tools=None: (text, [])},
            r"(?s)parse\(.*calls\(\) wrote returns.*was given",
        ),
    ],
)
def test_a_format_that_breaks_its_contract_is_named_with_its_place(broken: Any, match: str) -> None:
    with pytest.raises(PluginError, match=match) as raised:
        register_agent_format("broken")(type("Broken", (Good,), broken))
        build_agent_format("broken")
    assert "agent format 'broken' (" in str(raised.value) and __file__ in str(raised.value)


def test_unknown_names() -> None:
    with pytest.raises(RegistryError, match=r"(?s)unknown agent format 'herms'.*hermes"):
        build_agent_format("herms")
    assert isinstance(build_agent_format("hermes"), AgentFormat)
