"""Limits of turns and tokens end an episode without a reply that nobody answers."""

from __future__ import annotations

from typing import Any

import pytest

from swift.plugin import register_rollout
from swift.rlhf.objectives.grpo.sampler import Sampler


@pytest.mark.parametrize(
    ("settings", "model_settings"),
    [
        ({"max_turns": 2}, {}),
        ({"max_completion_length": 7}, {}),
        ({"max_completion_length": 12, "max_rollout_length": 14}, {}),
        ({"max_completion_length": 12}, {"max_position_embeddings": 20}),
    ],
)
def test_a_limit_ends_the_episode(
    episodes: Any, settings: dict[str, Any], model_settings: dict[str, Any]
) -> None:
    register_rollout("endless")(episodes.again(1000))
    model = episodes.model(**model_settings)
    objective = episodes.build(rollout="endless", **settings)
    sampler: Sampler = objective.experience.sampler
    encoded = episodes.prompts(["12", "345"])
    samples = sampler.draw(
        model, [list(map(int, one.input_ids)) for one in encoded], [dict(one.columns) for one in encoded], 0
    )
    objective.close()
    assert len(samples) == 8
    for sample in samples:
        ids, drawn = sample.completion.token_ids, sample.completion.drawn
        assert len(ids) == len(drawn)
        assert not sample.completion.complete, "nothing but a limit ended it"
        assert drawn[-1], "no reply without an answer"
        assert sample.turns <= settings.get("max_turns", 8)
        assert sum(drawn) <= settings.get("max_completion_length", 24)
        assert len(ids) <= settings.get("max_rollout_length", 10**9)
        assert len(sample.prompt_ids) + len(ids) <= model_settings.get("max_position_embeddings", 64)
    assert max(sample.turns for sample in samples) > 1
    assert samples[0].messages[0] == episodes.user("12")
