"""What environments are told, what they reward, and how long they live."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from swift.core.types import IGNORE_INDEX, Message
from swift.plugin import register_rollout
from swift.rlhf.objectives.grpo.config import GRPOConfig
from swift.rlhf.rollout import Turn


def test_rewards_read_the_last_answer_and_the_environment_adds_its_own(episodes: Any) -> None:
    seen: dict[str, Any] = {}
    columns_seen = []

    @register_rollout("graded")
    class Graded:
        """Two more questions; each answer earns 0.25 times the factor."""

        def __init__(self, factor: float) -> None:
            self.factor = factor

        def reset(self, messages: list[Message], columns: Any) -> None:
            columns_seen.append((messages[0]["content"], columns))
            self.turns = 0

        async def step(self, completion: str) -> Turn:
            self.turns += 1
            done = self.turns == 3
            return Turn([] if done else [episodes.user("?")], done, 0.25 * self.factor)

    def spy(prompts: list[Any], completions: list[str], **columns: Any) -> list[float]:
        seen.update(prompts=prompts, completions=completions, **columns)
        return [float(len(text)) for text in completions]

    model = episodes.model()
    objective = episodes.build(rollout="graded", rollout_config={"factor": 2.0}, reward_weights=[0.5])
    objective.experience.rewards.slots["mine"].part = spy
    batch = episodes.gather(objective, model)
    figures = episodes.means(objective, model, batch)
    objective.close()
    assert columns_seen[:5] == [("12", {"answer": "21"})] * 4 + [("345", {"answer": "543"})]
    assert "messages" not in seen
    turns = [(len(prompt) + 1) // 2 for prompt in seen["prompts"]]
    assert figures["turns"] == pytest.approx(np.mean(turns))
    assert 1 < figures["turns"] <= 3
    assert figures["rewards/environment"] == pytest.approx(0.5 * np.mean(turns))
    assert figures["reward"] == pytest.approx(
        0.5 * figures["rewards/mine"] + figures["rewards/environment"], rel=1e-5
    )
    lengths = (batch["labels"] != IGNORE_INDEX).sum(-1).float().mean()
    assert figures["completion_length"] == pytest.approx(lengths.item())
    assert all(
        prompt[-1] == episodes.user("?")
        for prompt, count in zip(seen["prompts"], turns, strict=True)
        if count > 1
    )


def test_an_environment_alone_is_reward_enough(episodes: Any) -> None:
    register_rollout("again")(episodes.again(1))
    GRPOConfig(rollout="again")
    with pytest.raises(ValueError, match="at least one reward"):
        GRPOConfig()
    with pytest.raises(ValueError, match="rewards of a rollout"):
        GRPOConfig(reward_funcs=["environment"], rollout="again")  # type: ignore[list-item]
    with pytest.raises(ValueError, match="max_turns needs a rollout"):
        GRPOConfig(reward_funcs=["mine"], max_turns=3)  # type: ignore[list-item]


def test_reset_may_open_the_episode_itself(episodes: Any) -> None:
    @register_rollout("opening")
    class Opening:
        def reset(self, messages: list[Message], columns: Any) -> list[Message]:
            return [
                episodes.user(columns["answer"]),
                {"role": "assistant", "content": "7"},
                episodes.user("8"),
            ]

        def step(self, completion: str) -> Turn:
            return Turn(done=True)

    objective = episodes.build(rollout="opening")
    batch = episodes.gather(objective, episodes.model())
    objective.close()
    assert episodes.tokenizer.decode(batch["input_ids"][0][:11]) == "<u>21<e><a>7<e><u>8<e><a>"


def test_environments_are_used_again_and_work_at_the_same_time(episodes: Any) -> None:
    made: list[Any] = []
    closed: list[Any] = []
    barrier = threading.Barrier(8, timeout=20)

    @register_rollout("kept")
    class Kept:
        def __init__(self) -> None:
            made.append(self)

        def reset(self, messages: list[Message], columns: Any) -> None:
            barrier.wait()

        def step(self, completion: str) -> Turn:
            return Turn(done=True)

        def close(self) -> None:
            closed.append(self)

    @register_rollout("fresh")
    class Fresh:
        def __init__(self) -> None:
            made.append(self)
            self.used = False

        def step(self, completion: str) -> Turn:
            assert not self.used
            self.used = True
            return Turn(done=True)

    model = episodes.model()
    objective = episodes.build(rollout="kept")
    for step in range(2):
        episodes.gather(objective, model, step)
    objective.close()
    assert len(made) == len(closed) == 8
    made.clear()
    objective = episodes.build(rollout="fresh")
    for step in range(2):
        episodes.gather(objective, model, step)
    assert len(made) >= 16
