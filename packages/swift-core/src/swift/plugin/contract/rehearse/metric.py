"""A metric on synthetic predictions of the sort it reads."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

from swift.core.errors import SwiftError
from swift.core.registry import Component
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.fault import fault
from swift.plugin.contract.rehearse.call import Made, guarded
from swift.plugin.contract.rehearse.columns import columns_needed, refuse_columns
from swift.plugin.contract.signature import accepted_extras

READS = ("texts", "tokens", "labels", "scores")


Fed = tuple[Any, Any, dict[str, Any]]


def metric_inputs(reads: str) -> list[Fed]:
    """(predictions, references, extras) of one sort; one metric may be made for one of several of them.

    texts: lists of strings. tokens: int64 [N] each. labels: logits [B, C] and int64 [B], or logits [B, C] and
    0/1 [B, C], or values [B] and float [B]. scores: float [M], relevance 0/1 [M], and groups int64 [M].
    """
    if reads == "texts":
        prompts = [[{"role": "user", "content": text}] for text in ("What did it do?", "One and one?")]
        return [(["the cat sat", "two"], ["the cat sat down", "two"], {"prompts": prompts})]
    import torch

    if reads == "tokens":
        return [(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 0, 4]), {})]
    if reads == "labels":
        logits = torch.tensor([[2.0, 0.1], [0.3, 1.0], [0.9, 0.2]])
        values: Fed = (torch.tensor([0.5, 2.0, 1.0]), torch.tensor([1.0, 1.5, 0.0]), {})
        return [(logits, torch.tensor([0, 1, 1]), {}), (logits, (logits > 0.5).float(), {}), values]
    scores, relevance = torch.tensor([0.9, 0.1, 0.4, 0.7]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    return [(scores, relevance, {"groups": torch.tensor([0, 0, 1, 1])})]


def reads_of(component: Component) -> tuple[str, ...]:
    """What a metric is fed, one of them at a time, as its registration says.

    Raises:
        PluginError: an unknown word.
    """
    reads = dict(component.attributes).get("reads", "texts")
    words = (reads,) if isinstance(reads, str) else tuple(reads)
    if not words or any(word not in READS for word in words):
        raise fault("metric", component, f"is registered with reads={reads!r}", f"one of {', '.join(READS)}")
    return words


def check_metric_value(component: Component, value: Any) -> None:
    """Refuse what is neither a finite number nor finite numbers by name.

    Raises:
        PluginError: something else.
    """
    figures = value if isinstance(value, Mapping) else {"": value}
    for name, figure in figures.items():
        at = f" as {name!r}" if name else ""
        try:
            number = float(figure)
        except (TypeError, ValueError, RuntimeError):
            raise fault(
                "metric",
                component,
                f"returned a {type(figure).__name__}{at}",
                "return a float, or floats by name",
            ) from None
        if not math.isfinite(number):
            raise fault(
                "metric", component, f"returned {number}{at}", "say what it is when nothing was counted"
            )


def rehearse_metric(metric: Any, component: Component) -> dict[str, Any]:
    """Call a metric on synthetic values of each sort that it reads.

    Raises:
        PluginError: it fails, or returns no finite number.
    """
    return {reads: _figure(metric, component, reads) for reads in reads_of(component)}


def _figure(metric: Any, component: Component, reads: str) -> Any:
    """What it makes of the first values that it accepts."""
    refusals = []
    for predictions, references, extras in metric_inputs(reads):
        given = {name: extras[name] for name in accepted_extras(metric, tuple(extras))}
        try:
            value = guarded(
                "metric", component, f"on {reads}", "correct it", metric, predictions, references, **given
            )
        except SwiftError as error:
            refusals.append(error)
            continue
        check_metric_value(component, value)
        return value
    raise refusals[0]


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, returns finite numbers, the same ones twice."""
    made = Made("metric", component, config)
    yield "builds", made.build
    needed = columns_needed(made.part, ("groups", "prompts"))
    if needed:
        yield "finite", functools.partial(refuse_columns, needed)
        return
    yield "finite", lambda: str(rehearse_metric(made.part, component))
    yield "deterministic", lambda: _twice(made)


def _twice(made: Made) -> None:
    first, second = (rehearse_metric(made.part, made.component) for _ in range(2))
    if first != second:
        raise made.fault(
            f"returned {first} and then {second} for the same inputs",
            "remove what is random or kept between calls",
        )
