"""Rewards: found by name, called together, checked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from swift.core import registry
from swift.core.config.named import Named
from swift.core.errors import DataError, RegistryError, SwiftError
from swift.plugin import register_reward
from swift.rlhf.objectives.grpo.batch import aligned_columns, repeat
from swift.rlhf.reward.exact_match import exact_match
from swift.rlhf.reward.score import Rewards, combine


def named(*names: str) -> list[Named]:
    return [Named(name=name) for name in names]


@pytest.fixture
def short() -> Iterator[str]:
    @register_reward("test-short")
    def short(prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
        """Shorter is better."""
        return [-float(len(text)) for text in completions]

    yield "test-short"
    registry.rewards.unregister("test-short")


def test_registered_rewards_are_found_and_weighted(short: str) -> None:
    rewards = Rewards(named("exact_match", short))
    columns: dict[str, list[Any]] = {"answer": ["12", "34"], "level": [1, 2]}
    scores = rewards([[], []], ["12\n", "3"], columns)
    assert scores == {"exact_match": [1.0, 0.0], short: [-3.0, -1.0]}
    assert combine(scores, [1.0, 0.5]) == [-0.5, -0.5]


def test_a_registered_class_is_built() -> None:
    class Constant:
        def __call__(self, prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
            return [7.0] * len(completions)

    register_reward("test-constant")(Constant)
    try:
        assert Rewards(named("test-constant"))([[]], ["x"], {}) == {"test-constant": [7.0]}
    finally:
        registry.rewards.unregister("test-constant")


def test_unknown_reward_names_the_nearest() -> None:
    with pytest.raises(RegistryError, match="exact_match"):
        Rewards(named("exact_mach"))


def test_exact_match_compares_trimmed_text() -> None:
    assert exact_match([], [" 7", "07", "7"], answer=[7, 7, "7 "]) == [1.0, 0.0, 1.0]
    with pytest.raises(DataError, match="column 'answer'") as error:
        exact_match([], ["7"], result=[7])
    assert "columns there are: result" in error.value.remedy
    with pytest.raises(DataError, match="in every row"):
        exact_match([], ["7", "8"], answer=["7", None])


def test_rewards_run_at_the_same_time() -> None:
    barrier = threading.Barrier(2, timeout=20)

    def meet(prompts: list[Any], completions: list[str], **columns: Any) -> list[int]:
        return [barrier.wait()]

    scores = Rewards(named("one", "two"), {"one": meet, "two": meet})([[]], ["x"], {})
    assert sorted(value for values in scores.values() for value in values) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([1.0], "returned 1 values for 2"),
        ([1.0, float("nan")], "returned nan for 'b'"),
        (["x", 1], "ValueError"),
    ],
)
def test_a_wrong_reward_is_named(result: list[Any], message: str) -> None:
    with pytest.raises(SwiftError, match=f"'mine'.*{message}"):
        Rewards(named("mine"), {"mine": lambda prompts, completions: result})([[], []], ["a", "b"], {})


def test_columns_follow_the_completions() -> None:
    rows = repeat([{"answer": 1, "messages": []}, {"level": "x"}], 2)
    assert aligned_columns(rows) == {"answer": [1, 1, None, None], "level": [None, None, "x", "x"]}
