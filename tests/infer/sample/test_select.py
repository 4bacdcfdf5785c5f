"""Which answers are kept."""

from __future__ import annotations

from typing import Any

import pytest

from swift.core.config.schema import SampleConfig
from swift.core.errors import ConfigError
from swift.infer.rows import Prompt
from swift.infer.sample.run import check
from swift.infer.sample.select import Answer, select

ASKED = {"role": "user", "content": "q"}
PROMPT = Prompt({}, "f:1", [ASKED])
ANSWERS = [Answer("b", 0.5), Answer("a", 1.0), Answer(" a ", 1.0), Answer("c", -1.0), Answer("  ", 9.0)]


def config(**settings: Any) -> SampleConfig:
    return SampleConfig.model_validate(settings)


def texts(**settings: Any) -> list[str]:
    return [row["messages"][-1]["content"] for row in select(PROMPT, ANSWERS, config(**settings)).rows]


def test_the_best_of_n() -> None:
    assert texts() == ["a"]
    row = select(PROMPT, ANSWERS, config()).rows[0]
    assert row == {"messages": [ASKED, {"role": "assistant", "content": "a"}], "reward": 1.0}
    assert texts(reward_threshold=1.0) == ["a"]
    assert texts(reward_threshold=1.1) == []
    assert select(PROMPT, ANSWERS, config(reward_threshold=1.1)).dropped == "below the threshold"


def test_of_equals_the_first_drawn_is_kept() -> None:
    assert (
        select(PROMPT, [Answer("x", 1.0), Answer("y", 1.0)], config()).rows[0]["messages"][-1]["content"]
        == "x"
    )


def test_rejection_keeps_the_best_distinct_ones_from_the_threshold_on() -> None:
    assert texts(sample_method="rejection", reward_threshold=0.5) == ["a", "b"]
    assert texts(sample_method="rejection", reward_threshold=0.5, keep_per_prompt=1) == ["a"]
    assert texts(sample_method="rejection", reward_threshold=-1) == ["a", "b", "c"]


def test_distillation_keeps_all_that_differ_as_they_came() -> None:
    found = select(PROMPT, [Answer("b"), Answer("a"), Answer("b")], config(sample_method="distill"))
    assert [row["messages"][-1]["content"] for row in found.rows] == ["b", "a"]
    assert "reward" not in found.rows[0]


def test_pairs_are_the_best_and_the_worst() -> None:
    (row,) = select(PROMPT, ANSWERS, config(sample_method="pairs")).rows
    assert row == {
        "messages": [ASKED],
        "chosen": "a",
        "rejected": "c",
        "reward": 1.0,
        "rejected_reward": -1.0,
    }
    assert select(PROMPT, ANSWERS, config(sample_method="pairs", min_margin=2.1)).dropped == "no difference"
    alike = [Answer("x", 1.0), Answer("y", 1.0)]
    assert select(PROMPT, alike, config(sample_method="pairs")).rows == []


def test_plain_text_is_continued() -> None:
    prompt = Prompt({}, "f:1", text="Once ")
    assert select(prompt, [Answer("upon")], config(sample_method="distill")).rows == [{"text": "Once upon"}]


def test_nothing_usable() -> None:
    assert select(PROMPT, [Answer(" ", 1.0)], config()).dropped == "no usable answer"
    assert select(PROMPT, [], config()).dropped == "no usable answer"


@pytest.mark.parametrize(
    ("settings", "temperature", "words"),
    [
        ({}, 1.0, "needs a reward"),
        ({"sample_method": "rejection", "reward_funcs": "exact_match"}, 1.0, "reward_threshold"),
        ({"reward_funcs": "exact_match"}, 0.0, "all the same"),
        ({"sample_method": "pairs", "reward_funcs": "x", "answers_per_prompt": 1}, 1.0, "two answers"),
    ],
)
def test_settings_that_cannot_give_what_they_ask_for(
    settings: dict[str, Any], temperature: float, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        check(config(**settings), temperature)
