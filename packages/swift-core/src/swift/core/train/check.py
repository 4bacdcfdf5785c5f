"""What can be refused before anything is read, encoded or loaded."""

from __future__ import annotations

from collections.abc import Iterable

from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from swift.core.config.run import RunConfig
from swift.core.errors import ConfigError, did_you_mean
from swift.core.registry import Registry, objectives, optimizers, schedulers, tuners
from swift.core.train.arguments import learning_rate
from swift.core.train.optimizer import check_optimizer, check_optimizer_fits
from swift.core.train.reporting import EXTRAS, check_swanlab
from swift.core.train.schedule import check_schedule
from swift.plugin.nouns import objective_task

NO_REPORT = ("none", "all")  # what transformers understands beside the names of its integrations


def check_names(run: RunConfig) -> None:
    """Optimiser, schedule and places to report to exist, are installed, and take their arguments.

    Raises:
        ConfigError, PluginError: one of them does not.
    """
    _check_either("optim", run.optim.optim, optimizers, [name.value for name in OptimizerNames])
    check_optimizer(run.optim, learning_rate(run))
    check_optimizer_fits(run)
    _check_either(
        "lr_scheduler_type", run.optim.lr_scheduler_type, schedulers, [name.value for name in SchedulerType]
    )
    check_schedule(run.optim, run.loop.max_steps, run.loop.eval_steps is not None)
    installed = get_available_reporting_integrations()
    for name in run.logging.report_to:
        _check("report_to", name, [*INTEGRATION_TO_CALLBACK, *NO_REPORT])
        if name not in (*installed, *NO_REPORT):
            raise ConfigError(
                f"train.report_to names {name!r}, which is not installed",
                f"pip install {EXTRAS.get(name, name)}, or leave it out",
            )
    if "swanlab" in run.logging.report_to:
        check_swanlab()


def _check(key: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        raise ConfigError(
            f"train.{key} is {name!r}, which transformers does not know", did_you_mean(name, known)
        )


def _check_either(key: str, name: str, registry: Registry, theirs: list[str]) -> None:
    """A name of transformers or of a registered part; one that is both has no meaning.

    Raises:
        ConfigError: neither, or both.
    """
    if name in registry and name in theirs:
        place = registry.get(name).described(registry.kind)
        raise ConfigError(
            f"train.{key} is {name!r}, and {place} has the name of one of transformers",
            "register it under another name",
        )
    if name in registry or name in theirs:
        return
    registered = registry.names()
    raise ConfigError(
        f"train.{key} is {name!r}, which is neither one of transformers nor a registered {registry.kind}",
        f"{did_you_mean(name, [*theirs, *registered])} (registered: {', '.join(registered) or 'none'}; "
        f"a plugin that registers one is named under plugins:)",
    )


TOKEN_TASKS = frozenset({"causal_lm", "text"})
"""Tasks whose samples are alike: tokens, some of which are learned."""


def check_task(run: RunConfig) -> None:
    """An objective of a package learns from samples of its own task; a plugin's decides for itself.

    Raises:
        ConfigError: data.task_type makes samples of another sort.
    """
    component = objectives.get(run.objective_name)
    wanted, chosen = objective_task(component), run.data.task_type
    if component.place or chosen in (None, wanted) or TOKEN_TASKS.issuperset({chosen, wanted}):
        return
    raise ConfigError(
        f"data.task_type is {chosen!r}, and train.stage={run.loop.stage} learns from {wanted!r} samples",
        f"leave data.task_type out, or set train.stage={chosen if chosen in objectives else 'sft'}",
    )


def check_packing(run: RunConfig) -> None:
    """The tuner can tell sequences apart that share a row.

    Raises:
        ConfigError: packed or padding-free batches are asked for, and it cannot.
    """
    name = run.loop.tuner_strategy
    if name is None or not (run.data.packing or run.data.padding_free):
        return
    if not dict(tuners.get(name).attributes).get("packs", True):
        raise ConfigError(
            f"train.tuner_strategy is {name!r}, which works by rows: packing puts several samples in one",
            "set data.packing=false and data.padding_free=false",
        )


def check_held_out(run: RunConfig) -> None:
    """What is measured on held-out rows needs some.

    Raises:
        ConfigError: an evaluation is asked for and nothing is held out.
    """
    if run.data.val_dataset_name or run.data.split_ratio > 0:
        return
    wanted = {
        f"train.eval_steps={run.loop.eval_steps}": run.loop.eval_steps is not None,
        f"eval.metrics={[named.name for named in run.eval.metrics]}": bool(run.eval.metrics),
    }
    for setting, is_set in wanted.items():
        if is_set:
            raise ConfigError(
                f"{setting} needs held-out rows, and there are none",
                "set data.split_ratio (such as 0.02) or data.val_dataset_name",
            )
