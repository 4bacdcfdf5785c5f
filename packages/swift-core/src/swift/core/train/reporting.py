"""Where transformers' integrations (TensorBoard, W&B, SwanLab, MLflow) put a run, and what they call it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swift.core.config.run import RunConfig

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
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
