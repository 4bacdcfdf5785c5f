"""What can be refused of eval.metrics before anything is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

from swift.core.config.run import RunConfig
from swift.core.errors import ConfigError
from swift.core.metrics.components import LABELS, PACKAGES
from swift.core.registry import Component, metrics, objectives

TEXTS = "texts"
GENERATIVE = ("causal_lm", "prompt", "preference")
"""Tasks of models whose answers can be compared, where an objective does not say what it predicts."""


def check_metrics(run: RunConfig) -> None:
    """Every metric exists, is installed, and reads what the objective predicts.

    Raises:
        RegistryError: unknown metric.
        ConfigError: it is not installed, named twice, or cannot be fed here.
    """
    seen: set[str] = set()
    for named in run.eval.metrics:
        component = metrics.get(named.name)
        if named.name in seen:
            raise ConfigError(f"eval.metrics names {named.name!r} twice", "name it once")
        seen.add(named.name)
        _check_installed(component)
        kind_read(component, run.objective_name)


def kind_read(component: Component, objective_name: str) -> str:
    """What a metric is fed in a run of this objective.

    Raises:
        ConfigError: the objective predicts nothing that it reads.
    """
    readable = reads(component)
    offered = predicts(objectives.get(objective_name))
    for kind in readable:
        if kind in offered:
            return kind
    fitting = sorted(each.name for each in metrics.all() if set(reads(each)) & set(offered))
    raise ConfigError(
        f"the {component.described('metric')} reads {' or '.join(readable)}, and the objective "
        f"{objective_name!r} predicts {' and '.join(offered) or 'nothing that metrics read'}",
        f"metrics for it: {', '.join(fitting) or 'none'}",
    )


def check_labels(names: Iterable[str], problem_type: str | None) -> None:
    """Metrics of classes for classes, of numbers for numbers.

    Args:
        problem_type: what the labels of the data are; None where the run has none.

    Raises:
        ConfigError: a metric of the other sort.
    """
    given = "numbers" if problem_type == "regression" else "classes"
    for name in names if problem_type is not None else ():
        if (understood := dict(metrics.get(name).attributes).get(LABELS)) not in (None, given):
            raise other_labels(name, understood, given)


def other_labels(name: str, understood: str, given: str) -> ConfigError:
    """The error of a metric that is fed the other sort of labels."""
    fitting = [each.name for each in metrics.all() if dict(each.attributes).get(LABELS) == given]
    return ConfigError(
        f"the metric {name!r} compares {understood}, and this run predicts {given}",
        f"metrics of {given}: {', '.join(sorted(fitting))}; train.problem_type says what labels are",
    )


def reads(component: Component) -> tuple[str, ...]:
    """The kinds of predictions that a metric understands, texts if it does not say."""
    return _words(dict(component.attributes).get("reads", TEXTS))


def predicts(component: Component) -> tuple[str, ...]:
    """The kinds of predictions that an objective gives."""
    attributes = dict(component.attributes)
    usual = (TEXTS,) if attributes.get("task") in GENERATIVE else ()
    return _words(attributes.get("predicts", usual))


def _words(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _check_installed(component: Component) -> None:
    for module in dict(component.attributes).get(PACKAGES, ()):
        if importlib.util.find_spec(module) is None:
            raise ConfigError(
                f"the metric {component.name!r} needs the module {module!r}, which is not installed",
                "pip install 'swift-core[metrics]'",
            )
