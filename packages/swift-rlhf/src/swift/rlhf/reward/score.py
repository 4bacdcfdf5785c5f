"""Calling rewards, several at the same time, and checking what they return."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from swift.core.config.named import Named
from swift.core.errors import PluginError, SwiftError
from swift.core.protocols import Reward
from swift.core.registry import Component, rewards
from swift.plugin.live import LiveParts
from swift.plugin.slot import Slot
from swift.rlhf.awaited import awaited

CONTRACT = "a reward is called as (prompts, completions, **columns) and returns one finite float a completion"

Early = tuple[Any, "Future[list[float]]"]
"""A part that already works on a call, and its result to come."""


class Rewards:
    """The rewards of a run; each may be swapped or replaced by its fallback between two calls.

    Args:
        wanted: names in the order of reward_weights, with the arguments of registered ones.
        given: functions that are not registered, by name.
        parts: where plugins may swap them.

    Raises:
        RegistryError: unknown name.
        PluginError: a reward cannot be built with its arguments.
    """

    def __init__(
        self,
        wanted: Sequence[Named],
        given: Mapping[str, Reward] | None = None,
        parts: LiveParts | None = None,
    ) -> None:
        parts = parts or LiveParts()
        given = given or {}
        self.slots = {
            item.name: Slot(rewards, Component(item.name, given[item.name]), {}, invoke=call_reward)
            if item.name in given
            else parts.slot(rewards, item.name, item.config, invoke=call_reward)
            for item in wanted
        }

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[str], columns: Mapping[str, Sequence[Any]]
    ) -> dict[str, list[float]]:
        """Rewards of all completions by the name of the reward; they are computed in parallel threads.

        Raises:
            PluginError: a reward fails, or does not return one finite number per completion.
        """
        if not self.slots:
            return {}
        with ThreadPoolExecutor(max_workers=len(self.slots)) as pool:
            early = {
                name: (slot.part, pool.submit(compute, slot.part, prompts, completions, columns))
                for name, slot in self.slots.items()
            }
            # One after the other, in an order that all ranks share: a slot asks them how a call went.
            return {
                name: _call(name, slot, functools.partial(slot, early[name], prompts, completions, columns))
                for name, slot in self.slots.items()
            }


def _call(name: str, slot: Slot, call: Any) -> list[float]:
    try:
        values: list[float] = call()
    except PluginError as error:
        if slot.component.place:
            raise
        raise PluginError(f"reward {name!r}: {error.problem}", error.remedy) from error
    return values


def call_reward(
    part: Reward, early: Early, prompts: Sequence[Any], completions: Sequence[str], columns: Mapping[str, Any]
) -> list[float]:
    """The result that is on its way, or that of a part which has just taken the other's place."""
    started, result = early
    return result.result() if part is started else compute(part, prompts, completions, columns)


def compute(
    function: Reward, prompts: Sequence[Any], completions: Sequence[str], columns: Mapping[str, Any]
) -> list[float]:
    """Call one reward (which may be a coroutine) and check what it returns.

    Raises:
        SwiftError: its own, as it is.
        PluginError: any other failure, or not one finite number per completion.
    """
    try:
        values = [float(value) for value in awaited(function(prompts, completions, **columns))]
    except SwiftError:
        raise
    except Exception as error:
        raise PluginError(f"failed: {type(error).__name__}: {error}", CONTRACT) from error
    if len(values) != len(completions):
        raise PluginError(f"returned {len(values)} values for {len(completions)} completions", CONTRACT)
    for value, completion in zip(values, completions, strict=True):
        if not math.isfinite(value):
            raise PluginError(f"returned {value} for {completion!r}", CONTRACT)
    return values


def combine(scores: Mapping[str, Sequence[float]], weights: Sequence[float]) -> list[float]:
    """Weighted sum of the rewards of each completion; weights in the order of scores."""
    return [
        sum(weight * value for weight, value in zip(weights, row, strict=True))
        for row in zip(*scores.values(), strict=True)
    ]
