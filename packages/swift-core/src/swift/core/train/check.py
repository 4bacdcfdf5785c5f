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

NO_REPORT = ("none", "all")  # what transformers understands beside the names of its integrations


def check_names(run: RunConfig) -> None:
    """Names that transformers knows: optimiser, schedule, places to report to.

    Raises:
        ConfigError: a name is unknown, or the package behind it is not installed.
    """
    _check("optim", run.optim.optim, [name.value for name in OptimizerNames])
    _check("lr_scheduler_type", run.optim.lr_scheduler_type, [name.value for name in SchedulerType])
    installed = get_available_reporting_integrations()
    for name in run.logging.report_to:
        _check("report_to", name, [*INTEGRATION_TO_CALLBACK, *NO_REPORT])
        if name not in (*installed, *NO_REPORT):
            raise ConfigError(
                f"train.report_to names {name!r}, which is not installed",
                f"pip install {name}, or leave it out",
            )


def _check(key: str, name: str, known: Iterable[str]) -> None:
    known = list(known)
    if name not in known:
        raise ConfigError(
            f"train.{key} is {name!r}, which transformers does not know", did_you_mean(name, known)
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
        "eval.exact_match=true": run.eval.exact_match,
    }
    for setting, is_set in wanted.items():
        if is_set:
            raise ConfigError(
                f"{setting} needs held-out rows, and there are none",
                "set data.split_ratio (such as 0.02) or data.val_dataset_name",
            )
