"""Sampling for real: a tiny model, rewards of plugins, a kill in the middle, training on what comes out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from swift.core.config.run import load_run
from swift.core.errors import CheckpointError, DataError, PluginError
from swift.core.registry import rewards
from swift.core.train.run import train_in_process
from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.commands.sample import command
from swift.infer.engines.transformers.engine import TransformersEngine
from swift.infer.rows import read_prompts
from swift.plugin import load

PLUGIN = """
import os, time
from swift.plugin import register_reward

@register_reward("vowels")
def vowels(prompts, completions, **columns):
    time.sleep(float(os.environ.get("SLOW_REWARD", "0")))
    assert len(columns["wanted"]) == len(prompts) == len(completions)
    return [float(sum(text.count(letter) for letter in "aeiou")) for text in completions]

@register_reward("broken")
def broken(prompts, completions, **columns):
    return [float("nan")] * len(completions)
"""

pytestmark = pytest.mark.usefixtures("untouched_registries")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    rows = ({"prompt": f"say {number}", "wanted": number} for number in range(10))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rewards.py").write_text(PLUGIN)
    return file


def words(prompts: Path, model: Path, output: Path, *more: object) -> list[str]:
    plugin = prompts.parent / "rewards.py"
    return [
        "--model", str(model), "--input", str(prompts), "--output", str(output), "--temperature", "1",
        "--max-new-tokens", "6", "-n", "3", "--reward", "vowels", f"plugins.load=[{plugin}]",
        "infer.keep_truncated=true", "infer.prompts_at_a_time=2", *map(str, more),
    ]  # fmt: skip


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_best_answers_are_written_and_trained_on(
    tmp_path: Path, tiny_model_dir: Path, prompts: Path
) -> None:
    output = tmp_path / "deep" / "best.jsonl"
    said = invoke(*words(prompts, tiny_model_dir, output))
    rows = rows_of(output)
    assert [row["messages"][0]["content"] for row in rows] == [f"say {number}" for number in range(10)]
    for row in rows:
        answer = row["messages"][1]["content"]
        assert row["reward"] == sum(answer.count(letter) for letter in "aeiou")
    assert "10 prompts kept" in said
    assert "10 rows" in said
    assert [file.name for file in output.parent.iterdir()] == ["best.jsonl"]  # nothing of the staging stays
    again = tmp_path / "again.jsonl"
    invoke(*words(prompts, tiny_model_dir, again, "infer.prompts_at_a_time=5"))
    assert rows_of(again) == rows  # the draws follow from the seed, not from the chunks
    other = tmp_path / "other.jsonl"
    invoke(*words(prompts, tiny_model_dir, other, "--seed", 7))
    assert rows_of(other) != rows
    trained = train_in_process(
        load_run(
            None,
            [
                f"model.model_id={tiny_model_dir}",
                f"data.dataset_name={output}",
                f"train.output_dir={tmp_path / 'sft'}",
                "train.max_steps=2",
            ],
        )
    )
    assert trained.steps == 2


def test_pairs_train_dpo(tmp_path: Path, tiny_model_dir: Path, prompts: Path) -> None:
    output = tmp_path / "pairs.jsonl"
    invoke(*words(prompts, tiny_model_dir, output, "--method", "pairs"))
    rows = rows_of(output)
    assert rows
    assert all(row["reward"] > row["rejected_reward"] for row in rows)
    trained = train_in_process(
        load_run(
            None,
            [
                f"model.model_id={tiny_model_dir}",
                f"data.dataset_name={output}",
                f"train.output_dir={tmp_path / 'dpo'}",
                "train.stage=dpo",
                "train.max_steps=2",
            ],
        )
    )
    assert trained.steps == 2


def test_a_killed_run_goes_on_without_a_row_twice(
    tmp_path: Path, tiny_model_dir: Path, prompts: Path
) -> None:
    output, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    arguments = words(prompts, tiny_model_dir, output)
    script = "import sys; from swift.core.cli import main; sys.argv[0] = 'swift'; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "sample", *arguments], env={**os.environ, "SLOW_REWARD": "1"}
    )
    progress = tmp_path / "out.jsonl.progress"
    limit = time.monotonic() + 120
    while not progress.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = json.loads(progress.read_text())["done"]
    assert 0 < done < 10
    assert not output.exists()
    with (tmp_path / "out.jsonl.part").open("a") as file:
        file.write('{"torn": ')  # what a kill between writing and recording leaves
    with pytest.raises(CheckpointError, match="made of other prompts"):
        invoke(*words(prompts, tiny_model_dir, output, "--seed", 7))
    invoke(*arguments)
    invoke(*words(prompts, tiny_model_dir, whole))
    assert rows_of(output) == rows_of(whole)
    assert not progress.exists()


def test_a_sandboxed_reward_gives_the_same_rows(tmp_path: Path, tiny_model_dir: Path, prompts: Path) -> None:
    output, plain = tmp_path / "sandboxed.jsonl", tmp_path / "plain.jsonl"
    invoke(*words(prompts, tiny_model_dir, plain))
    load._loaded.clear()
    rewards.unregister("vowels")
    rewards.unregister("broken")
    invoke(*words(prompts, tiny_model_dir, output, "plugins.trust=sandboxed"))
    assert rewards.get("vowels").trust == "sandboxed"
    assert rows_of(output) == rows_of(plain)


def test_a_reward_that_breaks_its_contract_loses_nothing(
    tmp_path: Path, tiny_model_dir: Path, prompts: Path
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("of an earlier run\n")
    with pytest.raises(PluginError, match="one finite float"):
        invoke(*words(prompts, tiny_model_dir, output, "--reward", "broken"))
    assert output.read_text() == "of an earlier run\n"


def test_answers_that_were_cut_off_are_left_out(tmp_path: Path, tiny_model_dir: Path, prompts: Path) -> None:
    output = tmp_path / "out.jsonl"
    said = invoke(*words(prompts, tiny_model_dir, output, "infer.keep_truncated=false"))
    cut = [line for line in said.splitlines() if "answers cut off" in line]
    assert int(cut[0].split()[0]) > 0
    assert "no usable answer" in said


def test_images_are_shown_and_stay_with_their_rows(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (28, 28), (200, 10, 10)).save(tmp_path / "pictures" / "red.png")
    source, output = tmp_path / "pictures" / "in.jsonl", tmp_path / "taught.jsonl"
    row = {"messages": [{"role": "user", "content": "<image>what?"}], "images": ["red.png"]}
    source.write_text(json.dumps(row) + "\n")
    words = ["--input", str(source), "--output", str(output), "--method", "distill", "-n", "1"]
    words += ["--max-new-tokens", "4", "infer.keep_truncated=true"]
    with pytest.raises(DataError, match="this model takes none"):
        invoke("--model", str(tiny_model_dir), *words)
    seen: list[GenerationRequest] = []
    generate = TransformersEngine.generate

    def spied(engine: TransformersEngine, asked: list[GenerationRequest]) -> Iterator[TokenDelta]:
        seen.extend(asked)
        return generate(engine, asked)

    monkeypatch.setattr(TransformersEngine, "generate", spied)
    output.with_name("taught.jsonl.part").unlink(missing_ok=True)
    invoke("--model", "tiny/qwen2.5-vl", *words)
    assert [len(one.images) for one in seen] == [1]
    (made,) = read_prompts(output)[0]
    assert made.images == (source.with_name("red.png").read_bytes(),)
    assert made.messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": "what?"}]
