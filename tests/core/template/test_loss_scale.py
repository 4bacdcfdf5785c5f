"""Weights of the loss: which characters weigh what, and that tokens and labels stay those without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from swift.core.config.schema import DataConfig, ModelConfig
from swift.core.data.collate import collate_padded
from swift.core.data.formats import to_conversation
from swift.core.errors import ConfigError, DataError, PluginError, RegistryError
from swift.core.objectives.causal_lm import CausalLMObjective
from swift.core.objectives.components import CausalLMConfig
from swift.core.registry import loss_scales
from swift.core.template.agent.build import build_agent_format
from swift.core.template.build import build_template
from swift.core.template.builtin import chat_template
from swift.core.template.chat import ChatTemplate
from swift.core.template.loss_scale.scales import LossScales, build_loss_scales
from swift.core.train.context import ObjectiveContext
from swift.core.types import IGNORE_INDEX, Conversation, Encoded, Message
from swift.plugin import register_loss_scale

USER, AGAIN = {"role": "user", "content": "Hi"}, {"role": "user", "content": "More"}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"x": 1}}}
TOOL = {"type": "function", "function": {"name": "look"}}
IM = "<|im_end|>"


def answer(content: str, **keys: Any) -> Message:
    return {"role": "assistant", "content": content, **keys}


@pytest.fixture(autouse=True)
def registry_as_before() -> Iterator[None]:
    before = loss_scales.registered()
    yield
    loss_scales.restore(before)


def scales(*parts: Any) -> LossScales:
    return build_loss_scales(DataConfig(loss_scale=list(parts)).loss_scale)


def encode(tokenizer: Any, turns: list[Message], *parts: Any, **more: Any) -> Encoded:
    row = Conversation(messages=turns, tools=more.pop("tools", None), origin="f:1")
    (encoded,) = ChatTemplate(tokenizer, max_length=8192, scales=scales(*parts), **more).encode([row])
    return encoded


def weighed(tokenizer: Any, encoded: Encoded) -> list[tuple[str, float]]:
    """Stretches of learned text with one weight."""
    found: list[tuple[str, float]] = []
    weights = encoded.loss_weights if encoded.loss_weights is not None else np.ones(len(encoded.labels))
    last = -2
    for place in np.flatnonzero(encoded.labels != IGNORE_INDEX):
        text, weight = tokenizer.decode([encoded.input_ids[place]]), float(weights[place])
        if found and found[-1][1] == weight and place == last + 1:
            found[-1] = (found[-1][0] + text, weight)
        else:
            found.append((text, weight))
        last = place
    return found


REGEX = {"name": "regex", "config": {"patterns": {"o+": 3}}}


@pytest.mark.parametrize(
    ("turns", "parts", "expected"),
    [
        ([USER, answer("Ho"), AGAIN, answer("Hm")], ["default"], [("Ho" + IM, 1), ("Hm" + IM, 1)]),
        ([USER, answer("Ho"), AGAIN, answer("Hm")], ["last_round"], [("Hm" + IM, 1)]),
        (
            [USER, answer("Ho", loss=True), AGAIN, answer("Hm")],
            ["last_round"],
            [("Ho" + IM, 1), ("Hm" + IM, 1)],
        ),
        (
            [USER, answer("Ho"), AGAIN, answer("Hm"), answer("Hn")],
            ["last_round"],
            [("Hm" + IM, 1), ("Hn" + IM, 1)],
        ),
        ([USER, answer("<think>\nwhy\n</think>\n\nSo")], ["ignore_thinking"], [("So" + IM, 1)]),
        ([USER, answer("why</think>So")], ["ignore_thinking"], [("So" + IM, 1)]),
        ([USER, answer("<think></think>A<think>b</think>C")], ["ignore_thinking"], [("A", 1), ("C" + IM, 1)]),
        ([USER, answer("A<think>b")], ["ignore_thinking"], [("A", 1)]),
        (
            [USER, answer("<think>\n\n</think>A<think>b</think>")],
            [{"name": "ignore_thinking", "config": {"only_empty": True}}],
            [("A<think>b</think>" + IM, 1)],
        ),
        ([USER, answer("A", loss=0.5)], [], [("A" + IM, 0.5)]),
        ([USER, answer("A", loss=0.5), AGAIN, answer("B", loss=False)], [], [("A" + IM, 0.5)]),
        ([USER, answer("xox", loss=0.5)], [REGEX], [("x", 0.5), ("o", 1.5), ("x" + IM, 0.5)]),
        ([USER, answer("xo")], [REGEX], [("x", 1), ("o" + IM, 3)]),
        (
            [USER, answer("xo")],
            [REGEX, {"name": "regex", "config": {"patterns": {".o": 2}}}],
            [("x", 2), ("o" + IM, 6)],
        ),
        (
            [USER, answer("x=7; y=8.")],
            [{"name": "regex", "config": {"patterns": {r"(\w)=(\d)": [0, 2]}}}],
            [("=", 1), ("7", 2), ("; ", 1), ("=", 1), ("8", 2), ("." + IM, 1)],
        ),
        (
            [USER, answer("ab")],
            [{"name": "regex", "config": {"patterns": {"(a)b": 2}}}],
            [("a", 2), ("b" + IM, 1)],
        ),
        ([USER, answer("x🎉y")], [{"name": "regex", "config": {"patterns": {"🎉": 2}}}], None),
    ],
)
def test_strategies(turns: Any, parts: Any, expected: Any, make_characters: Any) -> None:
    tokenizer = make_characters
    encoded = encode(tokenizer, turns, *parts)
    found = weighed(tokenizer, encoded)
    if expected is None:
        assert [weight for _, weight in found] == [1, 2, 1]
        assert tokenizer.decode(encoded.input_ids[encoded.loss_weights == 2]) == "🎉"  # type: ignore[index]
    else:
        assert found == expected


@pytest.fixture(scope="session")
def make_characters() -> PreTrainedTokenizerFast:
    """A tokenizer with a token a byte, so that every border of a text is one of tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|im_start|>", IM])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=IM, pad_token="<|im_start|>")
    tokenizer.chat_template = chat_template("chatml")
    return tokenizer


@pytest.mark.parametrize("agent", [None, "hermes", "react", "mistral"])
@pytest.mark.parametrize("words", ["", "Let me look: 1"])
def test_tool_calls_in_any_format(agent: str | None, words: str, make_characters: Any) -> None:
    turns: list[Message] = [
        USER,
        answer(words, tool_calls=[CALL, CALL]),
        {"role": "tool", "content": "7"},
        {"role": "tool", "content": "8"},
        answer("Ho"),
    ]
    part = {"name": "tool_calls", "config": {"weight": 4}}
    chosen = build_agent_format(agent) if agent else None
    encoded = encode(make_characters, turns, part, tools=[TOOL], agent=chosen)
    found = weighed(make_characters, encoded)
    calls = [text for text, weight in found if weight == 4]
    assert len(calls) == 1 and calls[0].count("look") == 2
    assert [text.strip() for text, weight in found if weight == 1] == [*[words][: bool(words)], "Ho" + IM]
    last = encode(make_characters, turns, "last_round", tools=[TOOL], agent=chosen)
    assert {text for text, _ in weighed(make_characters, last)} >= {"Ho" + IM}  # results are no user turns
    assert "look" in "".join(text for text, _ in weighed(make_characters, last))


def test_the_whole_conversation(make_characters: Any) -> None:
    turns = [USER, answer("A", loss=False), AGAIN, answer("<think>b</think>C", loss=0.5)]
    encoded = encode(make_characters, turns, "all", "ignore_thinking")
    start = "<|im_start|>"
    assert weighed(make_characters, encoded) == [
        (f"{start}user\nHi{IM}\n{start}assistant\n", 1),
        (f"\n{start}user\nMore{IM}\n{start}assistant\n", 1),
        ("C" + IM, 0.5),
        ("\n", 1),
    ]


awkward = st.sampled_from(
    [
        "hello",
        " ",
        "\n\n",
        "don't",
        "<think>",
        "</think>\n\n",
        IM,
        "中文",
        "e\u0301",
        "🎉",
        "12 345",
        "x=1",
        "<|im_",
    ]
)
contents = st.lists(awkward, min_size=1, max_size=8).map("".join) | st.text(min_size=1, max_size=30)


@pytest.fixture(scope="session")
def templates(make_tokenizer: Any) -> Callable[[str, str, Any], ChatTemplate]:
    """Templates that have seen rows before, one for each tokenizer and scale."""
    known: dict[str, ChatTemplate] = {}

    def get(name: str, kind: str, part: Any) -> ChatTemplate:
        key = f"{name} {kind} {part}"
        if key not in known:
            chosen = scales(part) if part else None
            known[key] = ChatTemplate(make_tokenizer(name, kind), max_length=8192, scales=chosen)
        return known[key]

    return get


@pytest.mark.parametrize("kind", ["gpt2", "qwen", "prefix"])
@pytest.mark.parametrize("name", ["chatml", "llama3", "qwen3", "mistral"])
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(texts=st.lists(contents, min_size=2, max_size=2), factor=st.sampled_from([0.0, 0.5, 3.0]))
def test_weighing_changes_neither_tokens_nor_what_one_learns(
    name: str, kind: str, texts: list[str], factor: float, templates: Any
) -> None:
    regex = {"name": "regex", "config": {"patterns": {r"[^\sa-z]+": factor}}}
    for pair in (["Hi there", "Hello, you!"], texts):
        row = Conversation(messages=[{"role": "user", "content": pair[0]}, answer(pair[1])])
        (plain,) = templates(name, kind, None).encode([row])
        (same,) = templates(name, kind, "default").encode([row])
        assert same.input_ids.tolist() == plain.input_ids.tolist()
        assert same.labels.tolist() == plain.labels.tolist() and same.loss_weights is None
        template = templates(name, kind, regex)
        for encoded in template.encode([row]):  # none where nothing is left to learn
            assert encoded.input_ids.tolist() == plain.input_ids.tolist()
            check_tokens(template, row, plain, encoded)


def check_tokens(template: ChatTemplate, row: Conversation, plain: Encoded, encoded: Encoded) -> None:
    """Token by token: the largest weight of the characters it covers."""
    (request,) = template._requests(row)
    rendered = template._render(request, {})
    assert rendered.weights is not None
    weights = np.zeros(len(rendered.text))
    for start, end, weight in rendered.weights:
        weights[start:end] = weight
    assert template.backend is not None
    offsets = template.backend.encode(rendered.text, add_special_tokens=False).offsets
    for place, (start, end) in enumerate(offsets):
        expected = weights[start:end].max() if end > start else weights[max(start - 1, 0)]
        learned = encoded.labels[place] != IGNORE_INDEX
        assert learned == (expected > 0) and (not learned or plain.labels[place] != IGNORE_INDEX)
        if learned and encoded.loss_weights is not None:
            assert encoded.loss_weights[place] == expected


def test_rows_without_weights_keep_the_fast_path(tokenizer: Any) -> None:
    template = ChatTemplate(tokenizer, max_length=99)
    rows = [[USER, answer("Ho")], [USER, answer("Hm", loss=0.5)], [USER, answer("Hn", loss=True)]]
    template.encode([Conversation(messages=turns) for turns in rows])
    planned = {
        learn[1]: shape[1] is not None for (_, learn, *_), shape in template.shapes.known.items() if shape
    }
    assert planned == {1: True, 0.5: False}


def test_weights_are_cut_with_their_tokens_and_collated(make_characters: Any) -> None:
    turns = [USER, answer("xo" * 20)]
    whole = encode(make_characters, turns, REGEX)
    row = Conversation(messages=turns)
    template = ChatTemplate(make_characters, max_length=30, truncation="split", scales=scales(REGEX))
    pieces = template.encode([row])
    assert whole.loss_weights is not None and all(len(piece.input_ids) <= 30 for piece in pieces)
    cut = [piece.loss_weights for piece in pieces if piece.loss_weights is not None]
    assert np.concatenate(cut).tolist() == whole.loss_weights[-sum(map(len, cut)) :].tolist()
    batch = collate_padded([whole, encode(make_characters, turns)], pad_id=0)
    assert batch["loss_weights"].shape == batch["labels"].shape and batch["loss_weights"][1].min() == 1


def test_the_loss_is_the_weighted_sum_over_the_count_of_supervised_tokens(tiny_model_dir: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()
    turns = [USER, answer("<think>\nwhy 1\n</think>\n\nThe answer is 12.")]
    digits = {"name": "regex", "config": {"patterns": {r"\d": 5}}}
    encoded = encode(tokenizer, turns, "ignore_thinking", digits)
    assert tokenizer.decode(encoded.labels[encoded.labels != IGNORE_INDEX]) == "The answer is 12." + IM
    context = ObjectiveContext(tokenizer, ModelConfig(), load_reference=torch.nn.Module)
    objective = CausalLMObjective(CausalLMConfig(), context)
    batch = objective.collate([encoded])
    count = objective.count(batch)
    with torch.no_grad():
        found = objective.loss(model, batch, count).loss
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[0, :-1]
    losses = torch.nn.functional.cross_entropy(logits, batch["input_ids"][0, 1:], reduction="none")
    learned = batch["labels"][0, 1:] != IGNORE_INDEX
    weights = batch["loss_weights"][0, 1:]
    assert set(weights[learned].tolist()) == {1.0, 5.0} and count == learned.sum()
    torch.testing.assert_close(found, (losses * weights)[learned].sum() / learned.sum())


def test_numbers_in_rows() -> None:
    def loss(**keys: Any) -> Any:
        turns = [USER, {**answer("Ho"), **keys}]
        return to_conversation({"messages": turns}, "f:1").messages[1]["loss"]

    assert loss(loss=1) is True and loss(weight=0) is False and loss(loss=0.25) == 0.25
    assert loss(loss=True, loss_scale=0.5) == 0.5 and loss(loss=False, loss_scale=3) is False
    for bad in (-1, float("nan"), float("inf"), "high"):
        with pytest.raises(DataError, match=r"f:1: a turn has the loss \(or weight\)"):
            loss(loss=bad)


def test_pairs_take_weights_of_0_and_1_only(tokenizer: Any) -> None:
    thought = answer("<think>a</think>Ho")
    row = Conversation(messages=[USER, thought], rejected=[USER, answer("Hm")], origin="f:1")
    template = ChatTemplate(tokenizer, max_length=99, task="preference", scales=scales("ignore_thinking"))
    (pair,) = template.encode([row])
    assert weighed(tokenizer, pair)[0][0].startswith("Ho") and pair.loss_weights is None
    with pytest.raises(DataError, match="f:1: weights other than 0 and 1 are read by stage sft only"):
        ChatTemplate(
            tokenizer,
            max_length=99,
            task="preference",
            scales=scales({"name": "regex", "config": {"patterns": {"H": 0.5}}}),
        ).encode([row])
    with pytest.raises(ConfigError, match="'all' is set for pairs"):
        ChatTemplate(tokenizer, max_length=99, task="preference", scales=scales("all"))
    with pytest.raises(ConfigError, match="a text sample has no turns"):
        ChatTemplate(tokenizer, max_length=99, task="text", scales=scales("default"))


@pytest.mark.parametrize(
    ("part", "match"),
    [
        ({"name": "regex", "config": {"patterns": {"(": 1}}}, r"pattern '\(' does not compile"),
        ({"name": "regex", "config": {"patterns": {"a": -1}}}, "weight of 'a' is -1"),
        ({"name": "regex", "config": {"patterns": {"a": float("nan")}}}, "weight of 'a' is nan"),
        ({"name": "regex", "config": {"patterns": {"a": [1, 2]}}}, "0 groups and 2 weights"),
        ({"name": "regex", "config": {"patterns": {}}}, "patterns is {}"),
        ({"name": "tool_calls", "config": {"weight": "much"}}, "weight of 'weight' is 'much'"),
        ({"name": "ignore_thinking", "config": {"start": ""}}, "neither can be empty"),
    ],
)
def test_bad_arguments(part: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        scales(part)


def test_arguments_and_names_that_do_not_exist() -> None:
    with pytest.raises(PluginError, match="does not take the arguments"):
        scales({"name": "tool_calls", "config": {"factor": 2}})
    with pytest.raises(RegistryError, match=r"(?s)unknown loss scale 'ignore_thinkin'.*ignore_thinking"):
        scales("ignore_thinkin")


def test_a_strategy_of_ones_own(make_characters: Any) -> None:
    @register_loss_scale("first_half")
    def first_half(message: Message, text: str, weight: float = 2.0) -> list[tuple[str, float]]:
        assert message["role"] == "assistant" and message["call_text"] == "" and message["last_round"]
        half = len(text) // 2
        return [(text[:half], weight), (text[half:], 1.0)]

    encoded = encode(make_characters, [USER, answer("abcd")], {"name": "first_half", "config": {"weight": 3}})
    assert weighed(make_characters, encoded) == [("ab", 3), ("cd" + IM, 1)]


def _raises(message: Message, text: str) -> float:
    raise KeyError("oops")


@pytest.mark.parametrize(
    ("strategy", "match"),
    [
        (_raises, "failed on a turn of f:1: KeyError: 'oops'"),
        (lambda message, text: "1", "returned '1' for a turn of f:1"),
        (lambda message, text: -1.0, r"returned -1.0 for a turn"),
        (lambda message, text: float("inf"), "returned inf"),
        (lambda message, text: [(text, -1.0)], "returned"),
        (lambda message, text: [(text[:-1], 1.0)], "are not the text: 'H' instead of 'Ho'"),
    ],
)
def test_a_strategy_that_breaks_its_contract_is_named_with_its_place(
    strategy: Any, match: str, tokenizer: Any
) -> None:
    register_loss_scale("broken")(strategy)
    with pytest.raises(PluginError, match=match) as raised:
        encode(tokenizer, [USER, answer("Ho")], "broken")
    assert f"loss scale 'broken' ({__file__}:" in str(raised.value)


def test_rows_with_nothing_left_to_learn_are_dropped_and_counted(tokenizer: Any) -> None:
    data = DataConfig(loss_scale="ignore_thinking")  # type: ignore[arg-type]
    template = build_template(data, tokenizer, "causal_lm", None)
    rows = [Conversation(messages=[USER, answer(text)]) for text in ("<think>only</think>", "Ho")]
    assert isinstance(template, ChatTemplate)
    assert len(template.encode(rows)) == 1 and template.statistics.dropped == 1
