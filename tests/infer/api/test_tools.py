"""Calls in every agent format: read whole and as they come, detected, enforced."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xgrammar.testing import _is_grammar_accept_string

from swift.core.config.schema import ModelConfig
from swift.core.errors import ConfigError, DataError
from swift.core.models.load import load_tokenizer
from swift.core.registry import agent_formats
from swift.core.template.agent.build import build_agent_format
from swift.core.template.agent.format import make_call
from swift.core.template.render import Renderer
from swift.infer.server.tools.detect import agent_format_of
from swift.infer.server.tools.enforce import calls_constraint
from swift.infer.server.tools.json_end import JsonEnd
from swift.infer.server.tools.stream import CallPiece, CallStream, read_calls
from swift.infer.server.tools.syntax import call_syntax

FIND = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Find a thing.",
        "parameters": {
            "type": "object",
            "properties": {"word": {"type": "string"}, "count": {"type": "integer"}},
            "required": ["word"],
            "additionalProperties": False,
        },
    },
}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
TOOLS: list[dict[str, Any]] = [FIND, NOW]
CALLS = [make_call("find", {"word": 'a "b" {c} é\n', "count": 2}), make_call("now", {})]
FORMATS = list(agent_formats)
WRITE_JSON = [name for name in FORMATS if name != "glm"]


def heard(stream: CallStream, pieces: list[str]) -> tuple[str, list[tuple[str, Any]], int]:
    """(content, calls, pieces of calls) of a stream."""
    content, count = "", 0
    calls: list[list[str]] = []
    shown = [piece for text in pieces for piece in stream.push(text)]
    for piece in [*shown, *stream.finish()]:
        if isinstance(piece, CallPiece):
            count += 1
            if piece.name is not None:
                assert piece.index == len(calls)
                calls.append([piece.name, ""])
            calls[piece.index][1] += piece.arguments
        else:
            content += piece
    return content, [(name, json.loads(arguments)) for name, arguments in calls], count


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("content", ["", "Let me look."])
@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_a_stream_gives_the_calls_however_it_is_cut(name: str, content: str, cuts: list[int]) -> None:
    agent = build_agent_format(name)
    text, at = agent.calls(CALLS, content), 0
    pieces: list[str] = []
    while at < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[at : at + size])
        at += size
    said, calls, _ = heard(CallStream(agent, TOOLS), pieces)
    assert said.strip() == content
    assert calls == [("find", {"word": 'a "b" {c} é\n', "count": 2}), ("now", {})]
    whole, read = read_calls(agent, text, TOOLS)
    assert whole == content
    assert [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in read] == calls


@pytest.mark.parametrize("name", WRITE_JSON)
def test_arguments_come_as_they_are_written(name: str) -> None:
    agent = build_agent_format(name)
    stream = CallStream(agent, TOOLS)
    text = agent.calls(CALLS[:1], "")
    end = text.index("{c}")
    pieces = [piece for letter in text[:end] for piece in stream.push(letter)]
    assert isinstance(pieces[0], CallPiece) and pieces[0].name == "find"
    assert len(pieces) > 10, "the arguments did not wait for the call's end"
    arguments = "".join(piece.arguments for piece in pieces if isinstance(piece, CallPiece))
    assert arguments == text[:end][-len(arguments) :] and '"word"' in arguments


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "text", ["plain words, 1 < 2", "<tool", "Action", "{1, 2}", "a <tool_call>{no</tool_call> b"]
)
def test_what_is_no_call_is_said(name: str, text: str) -> None:
    agent = build_agent_format(name)
    if agent.parse(text, TOOLS)[1]:
        pytest.skip("a call of this format")
    assert heard(CallStream(agent, TOOLS), list(text)) == (text, [], 0)


def test_words_behind_calls_are_said_at_the_end() -> None:
    agent = build_agent_format("hermes")
    text = f"Two:\n{agent.calls(CALLS, '')}\nDone."
    content, calls, _ = heard(CallStream(agent, TOOLS), list(text))
    assert content.split() == ["Two:", "Done."] and len(calls) == 2


def test_a_call_that_is_cut_off_shows_what_there_was() -> None:
    agent = build_agent_format("hermes")
    text = agent.calls(CALLS[:1], "")[:50]
    stream = CallStream(agent, TOOLS)
    pieces = [*stream.push(text), *stream.finish()]
    assert isinstance(pieces[0], CallPiece) and pieces[0].name == "find"
    assert read_calls(agent, text, TOOLS) == (text, [])


def test_nesting_beyond_reason_is_text() -> None:
    text = '<tool_call>{"name": "find", "arguments": ' + '{"a":' * 100_000
    content, calls = read_calls(build_agent_format("hermes"), text, TOOLS)
    assert content == text and calls == []


@given(
    st.recursive(
        st.text(max_size=6) | st.integers(),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=3), x, max_size=3),
        max_leaves=8,
    ),
    st.integers(0, 1000),
)
def test_the_end_of_json(value: Any, seed: int) -> None:
    text = json.dumps({"a": value}, ensure_ascii=False)
    cut = random.Random(seed).randrange(len(text))
    end, behind = JsonEnd(), text + ' } "'
    assert end.feed(behind[:cut], 0) == cut and not end.done
    assert end.feed(behind, cut) == len(text) and end.done


def test_the_format_of_a_chat_template_is_detected() -> None:
    tokenizer = load_tokenizer(ModelConfig.model_validate({"model_id": "tiny/qwen3"}))
    assert agent_format_of(Renderer(tokenizer)) == "hermes"
    tokenizer.chat_template = (
        "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}"
        '{% for c in m.tool_calls or [] %}{"name": {{ c.function.name | tojson }}, '
        '"parameters": {{ c.function.arguments | tojson }}}{% endfor %}{% endfor %}'
    )
    assert agent_format_of(Renderer(tokenizer)) == "llama3"


@pytest.mark.parametrize("name", WRITE_JSON)
@pytest.mark.parametrize("several", [True, False])
def test_enforced_calls_are_the_formats_own_writing(name: str, several: bool) -> None:
    agent = build_agent_format(name)
    grammar = calls_constraint(agent, TOOLS, several=several).value

    def accepts(text: str) -> bool:
        return bool(_is_grammar_accept_string(grammar, text))

    assert accepts(agent.calls(CALLS[:1], ""))
    assert accepts(agent.calls(CALLS[1:], ""))
    assert accepts(agent.calls(CALLS, "")) == several
    assert not accepts(agent.calls(CALLS, "Well. "))
    assert not accepts(agent.calls([make_call("other", {})], ""))
    assert not accepts(agent.calls([make_call("find", {"count": 2})], "")), "word is required"
    assert not accepts(agent.calls([make_call("find", {"word": 1})], ""))


def test_what_cannot_be_enforced_is_refused() -> None:
    assert call_syntax(build_agent_format("glm")) is None
    with pytest.raises(ConfigError, match="without JSON"):
        calls_constraint(build_agent_format("glm"), TOOLS, several=True)
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"type": "object", "not": {}}}}
    with pytest.raises(DataError, match="not"):
        calls_constraint(build_agent_format("hermes"), [odd], several=True)


@pytest.mark.parametrize("stream", [True, False])
def test_tool_calls_through_the_official_client(scripted: Any, serve: Any, stream: bool) -> None:
    calls = (
        '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>\n<tool_call>{"name": "g"}</tool_call>'
    )
    served, _ = scripted(f"Two:\n{calls}")
    arguments: dict[str, Any] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"type": "function", "function": {"name": name, "parameters": {}}} for name in "fg"],
    }
    with serve(served) as client:
        if stream:
            with client.chat.completions.stream(**arguments) as events:
                choice = events.get_final_completion().choices[0]
        else:
            choice = client.chat.completions.create(**arguments).choices[0]
    assert choice.finish_reason == "tool_calls" and (choice.message.content or "").strip() == "Two:"
    made = [one.function for one in choice.message.tool_calls or ()]
    assert [(one.name, json.loads(one.arguments)) for one in made] == [("f", {"a": 1}), ("g", {})]
