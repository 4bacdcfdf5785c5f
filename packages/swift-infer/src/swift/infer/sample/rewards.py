"""Rewards of answers, from the registry: those of packages, and plugins, sandboxed ones too."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from swift.core.config.schema import SampleConfig
from swift.core.errors import ConfigError, PluginError
from swift.core.registry import Component, rewards
from swift.infer.rows import Prompt
from swift.plugin.live import LiveParts

TAKEN = (
    "prompts",
    "completions",
    "messages",
)  # names that a reward is called with, and what prompts are made of


class Scorer:
    """The weighted sum of the rewards that a configuration names.

    Raises:
        ConfigError: not one weight a reward.
        RegistryError: unknown reward.
    """

    def __init__(self, config: SampleConfig, fallback: Mapping[str, str]) -> None:
        names = [named.name for named in config.reward_funcs]
        self.weights = config.reward_weights or [1.0] * len(names)
        if len(self.weights) != len(names):
            raise ConfigError(
                f"infer.reward_weights has {len(self.weights)} numbers for {len(names)} rewards",
                "give one for each of infer.reward_funcs",
            )
        parts = LiveParts(fallback)
        self.slots = [
            parts.slot(rewards, named.name, named.config, check=_check, invoke=_invoke)
            for named in config.reward_funcs
        ]

    def __call__(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float | None]:
        """One sum for each text, which answers the prompt at its place; None without rewards.

        Raises:
            PluginError: a reward fails, or does not return one finite number a text.
        """
        if not self.slots or not texts:
            return [None] * len(texts)
        asked = [prompt.messages or prompt.text for prompt in prompts]
        columns = columns_of(prompts)
        found = [slot(asked, list(texts), columns) for slot in self.slots]
        return [
            sum(weight * float(value) for weight, value in zip(self.weights, values, strict=True))
            for values in zip(*found, strict=True)
        ]


def columns_of(prompts: Sequence[Prompt]) -> dict[str, list[Any]]:
    """The rows' columns, aligned; where none is called "answer", it is the row's own last turn."""
    rows = [{"answer": prompt.reference, **prompt.row} for prompt in prompts]
    names = dict.fromkeys(name for row in rows for name in row if name not in TAKEN)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return {name: values for name, values in columns.items() if any(value is not None for value in values)}


def _invoke(part: Any, prompts: Sequence[Any], texts: Sequence[str], columns: Mapping[str, Any]) -> Any:
    values = part(prompts, texts, **columns)
    return list(asyncio.run(_result(values)) if inspect.isawaitable(values) else values)


async def _result(value: Any) -> Any:
    return await value


def _check(component: Component, result: Any, arguments: tuple[Any, ...], first: bool) -> None:
    texts = arguments[1]
    numbers = [value for value in result if isinstance(value, int | float) and math.isfinite(value)]
    if len(result) != len(texts) or len(numbers) != len(texts):
        raise PluginError(
            f"{component.described('reward')} returned {result!r:.200} for {len(texts)} completions",
            "a reward returns one finite float a completion",
        )
