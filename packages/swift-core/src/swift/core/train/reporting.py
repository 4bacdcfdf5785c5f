"""Where transformers' integrations (TensorBoard, W&B, SwanLab, MLflow) put a run, and what they call it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from swift.core.config.run import RunConfig
from swift.core.errors import ConfigError

EXTRAS = {name: f"'swift-core[{name}]'" for name in ("tensorboard", "wandb", "swanlab", "mlflow")}
MLFLOW_RUN = "MLFLOW_RUN_ID"
PROJECT = ("WANDB_PROJECT", "SWANLAB_PROJECT", "MLFLOW_EXPERIMENT_NAME")
FOLDERS = {"TENSORBOARD_LOGGING_DIR": "tensorboard", "WANDB_DIR": "", "SWANLAB_LOG_DIR": "swanlog"}


def environment(run: RunConfig) -> dict[str, str]:
    """The variables that the integrations read.

    train.project goes before a variable that is set already; a folder that is set already stays. What is kept
    on this machine goes into the output folder, but for MLflow, whose store is shared by runs.
    """
    output = Path(run.checkpoint.output_dir).absolute()
    values = {name: str(output / folder) for name, folder in FOLDERS.items() if name not in os.environ}
    if run.logging.project is not None:
        values |= dict.fromkeys(PROJECT, run.logging.project)
    return values


@contextmanager
def reporting(run: RunConfig) -> Iterator[None]:
    """Those variables inside this block, and the former ones after it."""
    if not run.logging.report_to:
        yield
        return
    values = environment(run)
    before = {name: os.environ.get(name) for name in (*values, MLFLOW_RUN)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class OneMlflowRun(TrainerCallback):  # type: ignore[misc]
    """What is measured after training goes into the run that MLflow recorded it in, not into a second one."""

    def __init__(self) -> None:
        self.run: str | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Remember the run that the integration has started."""
        active = importlib.import_module("mlflow").active_run() if state.is_world_process_zero else None
        self.run = active.info.run_id if active is not None else None

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The integration has ended it; the next report would start another without its id."""
        if self.run is not None:
            os.environ[MLFLOW_RUN] = self.run


def reporting_callbacks(run: RunConfig) -> list[TrainerCallback]:
    """What the integrations of transformers need beside them."""
    return [OneMlflowRun()] if "mlflow" in run.logging.report_to else []


def check_swanlab() -> None:
    """From 0.8 on swanlab raises where the integration of transformers asks whether there is a run.

    Raises:
        ConfigError: it does.
    """
    try:
        importlib.import_module("swanlab").get_run()
    except RuntimeError as error:
        raise ConfigError(
            f"train.report_to names 'swanlab', and swanlab {version('swanlab')} does not work with the "
            "integration of transformers",
            "pip install 'swanlab>=0.7,<0.8'",
        ) from error
