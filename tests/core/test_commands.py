"""What the training commands refuse before they load anything."""

from __future__ import annotations

import pytest

from swift.core.commands.train import train
from swift.core.errors import ConfigError


def test_a_command_without_a_stage_of_its_own_needs_one() -> None:
    with pytest.raises(ConfigError, match=r"train\.stage is not set"):
        train(None, ("data.dataset_name=rows.jsonl",), stage=None)


def test_a_run_without_data_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.dataset_name is not set"):
        train(None, (), stage="sft")
