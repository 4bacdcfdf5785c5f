"""What data.task_type and train.stage choose together."""

from __future__ import annotations

import pytest

from swift.core.config.run import run_from_dict
from swift.core.errors import ConfigError
from swift.core.train.check import check_task


def check(stage: str, task_type: str | None) -> None:
    check_task(run_from_dict({"data": {"task_type": task_type}, "train": {"stage": stage}}))


@pytest.mark.parametrize(
    ("stage", "task_type"), [("pt", "seq_cls"), ("dpo", "causal_lm"), ("seq_cls", "embedding")]
)
def test_samples_of_another_task_are_refused(stage: str, task_type: str) -> None:
    with pytest.raises(ConfigError, match=f"data.task_type is '{task_type}', and train.stage={stage}"):
        check(stage, task_type)


@pytest.mark.parametrize(
    ("stage", "task_type"),
    [("sft", "seq_cls"), ("sft", "text"), ("pt", "causal_lm"), ("pt", None), ("dpo", "preference")],
)
def test_samples_that_fit(stage: str, task_type: str | None) -> None:
    check(stage, task_type)
