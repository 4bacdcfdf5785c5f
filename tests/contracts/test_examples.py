"""Every example is a configuration that the real parser takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swift.core.config.run import load_run

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
STAGES = {"sft_lora": "sft", "pt": "pt", "dpo": "dpo", "grpo": "grpo", "ddp": "sft", "serve": "sft"}


def test_an_example_of_each_kind() -> None:
    assert set(STAGES) <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_parses(path: Path) -> None:
    run = load_run(path)
    assert run.loop.stage == STAGES.get(path.stem, run.loop.stage)
    written = re.findall(r"^  (\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)
    resolved = {key for keys in run.to_dict().values() for key in keys}
    assert set(written) <= resolved


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_commands_in_the_comments_name_the_file(path: Path) -> None:
    commands = re.findall(r"^#   swift \w+ (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert commands
    assert set(commands) == {f"examples/{path.name}"}


def test_sft_lora_takes_the_overrides_of_the_readme() -> None:
    words = [
        "model.model_id=tiny/qwen3",
        "data.dataset_name=rows.json",
        "train.output_dir=out",
        "train.max_steps=20",
    ]
    run = load_run(next(path for path in EXAMPLES if path.stem == "sft_lora"), words)
    assert (run.model.model_id, run.data.dataset_name) == ("tiny/qwen3", ["rows.json"])
    assert (run.checkpoint.output_dir, run.loop.max_steps) == ("out", 20)
    assert run.optim.learning_rate == 1e-4
