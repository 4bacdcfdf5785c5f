"""Roll-outs that break their contract, or cannot be used."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from swift.core.errors import ModelError, PluginError, RegistryError
from swift.core.registry import Component, rollouts
from swift.plugin import register_rollout
from swift.plugin.live import LiveParts
from swift.rlhf.rollout import Turn


def fails(messages: Any, completion: str, turn: int, columns: Any) -> Turn:
    return Turn(reward=1 / 0)


def returns(value: Any) -> Callable[..., Any]:
    return lambda messages, completion, turn, columns: value


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (fails, r"step\(\) failed: ZeroDivisionError"),
        (returns(None), "returned NoneType, not a Turn"),
        (returns(Turn()), "neither ended the episode nor replied"),
        (returns(Turn(["more"], reward=1.0)), "which are not messages"),  # type: ignore[list-item]
        (returns(Turn(done=True, reward=float("nan"))), "gave the reward nan"),
    ],
)
def test_a_rollout_that_breaks_its_contract_is_named_with_its_place(
    episodes: Any, schedule: Any, message: str
) -> None:
    register_rollout("broken")(schedule)
    objective = episodes.build(rollout="broken")
    with pytest.raises(
        PluginError, match=rf"rollout 'broken' \(.*test_broken_rollouts.py:\d+\): .*{message}"
    ) as error:
        episodes.gather(objective, episodes.model())
    objective.close()
    assert "swift.rlhf.rollout.Turn" in error.value.remedy


def test_a_rollout_that_cannot_be_used_is_refused_before_anything_is_drawn(episodes: Any) -> None:
    with pytest.raises(RegistryError, match="unknown rollout 'nothing'"):
        episodes.build(rollout="nothing")

    class Stepless:
        pass

    class Plain:
        def step(self, completion: str) -> Turn:
            return Turn(done=True)

    with pytest.raises(PluginError, match=r"is called as .messages, completion, turn, columns."):
        register_rollout("narrow")(lambda completion: Turn(done=True))
    rollouts.register(Component("packaged", Stepless))  # as an installed package offers it
    with pytest.raises(PluginError, match=r"'packaged' (?s:.*)or is an object with step"):
        episodes.build(rollout="packaged")
    register_rollout("plain")(Plain)
    with pytest.raises(PluginError, match=r"does not take the arguments .*'size'"):
        episodes.build(rollout="plain", rollout_config={"size": 3})
    wordless = copy.deepcopy(episodes.tokenizer)
    wordless.chat_template = None
    register_rollout("again")(episodes.again(1))
    with pytest.raises(ModelError, match="no chat template"):
        replace(episodes, tokenizer=wordless).build(rollout="again")


def test_roles_that_the_template_refuses_are_an_error_of_the_rollout(episodes: Any) -> None:
    refusing = (
        "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}"
        "{% endif %}{% endfor %}"
    )
    strict = replace(episodes, tokenizer=copy.deepcopy(episodes.tokenizer))
    strict.tokenizer.chat_template = refusing + strict.tokenizer.chat_template
    register_rollout("tool")(returns(Turn([{"role": "tool", "content": "4"}])))
    objective = strict.build(rollout="tool")
    with pytest.raises(PluginError, match=r"rollout 'tool' \(.*\): the chat template refuses .*no tools"):
        strict.gather(objective, strict.model())
    objective.close()


def test_a_new_version_that_fails_its_first_step_gives_way(
    episodes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def newer(schedule: Any) -> None:
        rollouts.unregister("live")
        register_rollout("live")(schedule)
        for live in parts.in_use:
            if live.registry is rollouts:
                live.swap(rollouts.get("live"), live.rebuild(rollouts.get("live")))

    parts, model = LiveParts(), episodes.model()
    register_rollout("live")(episodes.again(1))
    objective = episodes.build(parts=parts, rollout="live")
    before = episodes.gather(objective, model)
    working = rollouts.get("live")
    newer(fails)
    assert torch.equal(episodes.gather(objective, model)["input_ids"], before["input_ids"])
    assert "failed, the former one stays" in capsys.readouterr().err
    assert rollouts.get("live") is working
    newer(episodes.again(0))
    after = episodes.gather(objective, model)
    assert after["row_metrics"]["turns"].mean() == 1 < before["row_metrics"]["turns"].mean()
    objective.close()
