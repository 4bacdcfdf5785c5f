"""What can be refused of eval.metrics before anything is loaded."""

from __future__ import annotations

import importlib.util
from typing import Any

from swift.core.config.run import RunConfig
from swift.core.errors import ConfigError
from swift.core.metrics.components import PACKAGES
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
