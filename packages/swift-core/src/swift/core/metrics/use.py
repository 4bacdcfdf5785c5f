"""The metrics of a run: built once, fed at every evaluation, named eval_NAME."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from swift.core.config.named import Named
from swift.core.errors import ConfigError, PluginError, SwiftError
from swift.core.metrics.check import TEXTS, kind_read
from swift.core.registry import Component, metrics
from swift.core.types import Predictions
from swift.plugin.contract.rehearse.metric import rehearse_metric
from swift.plugin.contract.signature import accepted_extras
from swift.plugin.live import LiveParts
from swift.plugin.slot import Slot

CONTRACT = "a metric takes (predictions, references) and returns one finite number, or a dict of them"


class Metrics:
    """What eval.metrics asks for.

    Args:
        named: the metrics with their arguments.
        objective_name: whose predictions they read.
        parts: where plugins may swap them.

    Raises:
        RegistryError, PluginError: a metric that does not exist or cannot be built.
        ConfigError: the objective predicts nothing that it reads, or the metric fails with its arguments.
    """

    def __init__(self, named: Sequence[Named], objective_name: str, parts: LiveParts) -> None:
        self.of_texts: list[Slot] = []
        self.of_predictions: list[Slot] = []
        for each in named:
            kind = kind_read(metrics.get(each.name), objective_name)
            # without a word to other ranks: all are fed the same values, or rank 0 alone is fed
            slot = parts.slot(metrics, each.name, each.config, check_value, call_metric, any_rank=bool)
            check_arguments(slot)
            (self.of_texts if kind == TEXTS else self.of_predictions).append(slot)

    def predicted(self, values: Predictions) -> dict[str, float]:
        """Figures of what the objective predicted."""
        extras = {"groups": values.groups}
        return _figures(self.of_predictions, values.predictions, values.references, extras)

    def generated(
        self, predictions: Sequence[str], references: Sequence[str], extras: Mapping[str, Any]
    ) -> dict[str, float]:
        """Figures of generated texts."""
        return _figures(self.of_texts, predictions, references, extras)


def check_arguments(slot: Slot) -> None:
    """Try a metric of an installed package with the arguments that YAML gives it, on synthetic values.

    Raises:
        ConfigError: it fails with them.
    """
    if not slot.config or slot.component.place:
        return
    try:
        rehearse_metric(slot.part, slot.component)
    except SwiftError as error:
        reason = error.__cause__ or error.problem
        raise ConfigError(
            f"eval.metrics gives {slot.name!r} the arguments {slot.config}: {reason}",
            "correct them, or leave them out",
        ) from error


def call_metric(metric: Any, predictions: Any, references: Any, extras: Mapping[str, Any]) -> Any:
    """Call a metric with the extras that it names (groups; prompts and columns)."""
    accepted = accepted_extras(metric, tuple(extras))
    return metric(predictions, references, **{name: extras[name] for name in accepted})


def check_value(component: Component, value: Any, arguments: tuple[Any, ...], first: bool) -> None:
    """The contract of a result.

    Raises:
        PluginError: not a finite number or a dict of them.
    """
    for name, number in value.items() if isinstance(value, Mapping) else [("", value)]:
        if isinstance(number, Tensor) and number.numel() == 1:
            number = number.item()
        if not isinstance(number, int | float) or not math.isfinite(number) or not isinstance(name, str):
            raise PluginError(f"{component.described('metric')} returned {value!r}", CONTRACT)


def _figures(slots: Sequence[Slot], *arguments: Any) -> dict[str, float]:
    figures: dict[str, float] = {}
    for slot in slots:
        value = slot(*arguments)
        check_value(slot.component, value, arguments, False)
        for name, number in named_values(slot.name, value).items():
            if name in figures:
                raise PluginError(f"two metrics give the figure {name!r}", "rename one of them")
            figures[name] = number
    return figures


def named_values(metric: str, value: Any) -> dict[str, float]:
    """One number under the metric's name; of several, a name that starts with the metric's stays as it is."""
    if not isinstance(value, Mapping):
        return {metric: float(value)}
    return {
        name if name.startswith(metric) else f"{metric}_{name}": float(number)
        for name, number in value.items()
    }
