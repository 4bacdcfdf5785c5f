"""A metric on synthetic predictions of the sort it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from swift.core.errors import PluginError
from swift.core.registry import Component
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.fault import fault
from swift.plugin.contract.kinds import CONTRACTS
from swift.plugin.contract.rehearse.call import Made
from swift.plugin.contract.signature import accepted_extras

READS = ("texts", "tokens", "labels", "scores")


def metric_inputs(reads: str) -> tuple[Any, Any, dict[str, Any]]:
    """(predictions, references, extras) of one sort.

    texts: lists of strings. tokens: int64 [N] each. labels: logits [B, C] and int64 [B]. scores: float [M],
    relevance 0/1 [M], and as an extra groups int64 [M].
    """
    if reads == "texts":
        return ["the cat sat", "two"], ["the cat sat down", "two"], {}
    import torch

    if reads == "tokens":
        return torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 0, 4]), {}
    if reads == "labels":
        return torch.tensor([[2.0, 0.1], [0.3, 1.0], [0.9, 0.2]]), torch.tensor([0, 1, 1]), {}
    scores, relevance = torch.tensor([0.9, 0.1, 0.4, 0.7]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    return scores, relevance, {"groups": torch.tensor([0, 0, 1, 1])}


def reads_of(component: Component) -> str:
    """What a metric is fed, as its registration says.

    Raises:
        PluginError: an unknown word.
    """
    reads = str(dict(component.attributes).get("reads", "texts"))
    if reads not in READS:
        raise fault("metric", component, f"is registered with reads={reads!r}", f"one of {', '.join(READS)}")
    return reads


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


def rehearse_metric(metric: Any, component: Component) -> Any:
    """Call a metric on synthetic values.

    Raises:
        PluginError: it fails, or returns no finite number.
    """
    return _value(_made(metric, component))


def _made(metric: Any, component: Component) -> Made:
    made = Made("metric", component, {})
    made.use(metric)
    return made


def _value(made: Made) -> Any:
    predictions, references, extras = metric_inputs(reads_of(made.component))
    accepted = accepted_extras(made.part, CONTRACTS["metric"].extras)
    given = {name: value for name, value in extras.items() if name in accepted}
    value = made.call(predictions, references, **given)
    check_metric_value(made.component, value)
    return value


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, returns finite numbers, the same ones twice."""
    made = Made("metric", component, config)
    yield "builds", made.build
    yield "finite", lambda: f"{_value(made)} on {reads_of(component)}"
    yield "deterministic", lambda: _twice(made)


def _twice(made: Made) -> None:
    first, second = _value(made), _value(made)
    if first != second:
        raise _differs(made.component, first, second)


def _differs(component: Component, first: Any, second: Any) -> PluginError:
    return fault(
        "metric",
        component,
        f"returned {first} and then {second} for the same inputs",
        "remove what is random or kept between calls",
    )
