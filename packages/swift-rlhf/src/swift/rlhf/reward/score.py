"""Calling rewards, several at the same time, and checking what they return."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from swift.core.errors import SwiftError
from swift.core.protocols import Reward
from swift.core.registry import rewards


def find_rewards(names: Sequence[str]) -> dict[str, Reward]:
    """Registered rewards by name; a registered class is built without arguments.

    Raises:
        RegistryError: unknown name.
    """
    return {name: _ready(rewards.get(name).load()) for name in names}


def _ready(loaded: Any) -> Reward:
    return cast(Reward, loaded() if isinstance(loaded, type) else loaded)


def score(
    functions: Mapping[str, Reward],
    prompts: Sequence[Any],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
) -> dict[str, list[float]]:
    """Rewards of all completions by the name of the reward; the functions run in parallel threads.

    Raises:
        SwiftError: a reward fails, or does not return one finite number per completion.
    """
    with ThreadPoolExecutor(max_workers=len(functions)) as pool:
        running = {
            name: pool.submit(_call, name, function, prompts, completions, columns)
            for name, function in functions.items()
        }
        return {name: future.result() for name, future in running.items()}


def _call(
    name: str,
    function: Reward,
    prompts: Sequence[Any],
    completions: Sequence[str],
    columns: Mapping[str, Any],
) -> list[float]:
    try:
        values = [float(value) for value in function(prompts, completions, **columns)]
    except SwiftError:
        raise
    except Exception as error:
        raise SwiftError(f"reward {name!r} failed: {type(error).__name__}: {error}") from error
    if len(values) != len(completions):
        raise SwiftError(
            f"reward {name!r} returned {len(values)} values for {len(completions)} completions",
            "return one float per completion, in order",
        )
    for value, completion in zip(values, completions, strict=True):
        if not math.isfinite(value):
            raise SwiftError(f"reward {name!r} returned {value} for {completion!r}", "return finite numbers")
    return values


def combine(scores: Mapping[str, Sequence[float]], weights: Sequence[float]) -> list[float]:
    """Weighted sum of the rewards of each completion; weights in the order of scores."""
    return [
        sum(weight * value for weight, value in zip(weights, row, strict=True))
        for row in zip(*scores.values(), strict=True)
    ]
