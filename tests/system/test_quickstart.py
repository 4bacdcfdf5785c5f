"""A shortened quickstart: every stage, the merge, a real server, the OpenAI client, the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from swift.core.errors import CheckpointError
from swift.core.quickstart.run import claim
from swift.core.quickstart.task import question, reverse, write_task

STEPS = ["--pt-steps", "6", "--sft-steps", "6", "--grpo-steps", "2", "--samples", "20"]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart") / "out"
    command = [sys.executable, "-m", "swift.core.cli", "quickstart", "--output-dir", str(folder), *STEPS]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=400,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


def test_results_have_every_stage_and_the_reply(output: Path) -> None:
    results = json.loads((output / "results.json").read_text())
    assert [stage["name"] for stage in results["stages"]] == ["pt", "sft", "grpo"]
    for stage in results["stages"]:
        assert 0 <= stage["exact_match"] <= 1
        assert stage["eval_loss"] > 0
        assert stage["seconds"] > 0
    assert results["stages"][1]["eval_loss"] < results["stages"][0]["eval_loss"], (
        "fine-tuning learns the format"
    )
    assert results["chat"]["prompt"].startswith(question("").strip())
    assert isinstance(results["chat"]["reply"], str)


def test_the_closing_table_shows_the_measured_figures(output: Path) -> None:
    table = (output / "stdout.txt").read_text()
    results = json.loads((output / "results.json").read_text())
    for stage in results["stages"]:
        (line,) = [line for line in table.splitlines() if line.startswith(stage["name"] + " ")]
        assert f"{stage['eval_loss']:.3f}" in line


def test_report_and_plots_are_there(output: Path) -> None:
    for name in ("loss", "reward", "accuracy"):
        assert (output / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    page = (output / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "exact match" in page


def test_the_merged_model_is_a_plain_folder(output: Path) -> None:
    names = {path.name for path in (output / "merged").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert "adapter_config.json" not in names


def test_held_out_numbers_are_in_no_training_file(tmp_path: Path) -> None:
    files = write_task(tmp_path, seed=3, demonstrations=200, held_out=50)
    rows = [json.loads(line) for line in files.held_out.read_text().splitlines()]
    kept = {row["messages"][0]["content"].rpartition(" ")[2] for row in rows}
    assert len(kept) == 50
    for path in (files.demonstrations, files.prompts):
        text = path.read_text()
        assert not any(f" {number}" in text for number in kept), path
    assert all(row["messages"][1]["content"] == reverse(row["messages"][0]["content"][-4:]) for row in rows)


def test_demonstrations_are_right_about_half_of_the_time(tmp_path: Path) -> None:
    files = write_task(tmp_path, seed=3, demonstrations=1000)
    right = 0
    for line in files.demonstrations.read_text().splitlines():
        user, answer = (message["content"] for message in json.loads(line)["messages"])
        right += answer == reverse(user[-4:])
    assert 400 < right < 600


def test_an_occupied_folder_is_refused_and_only_our_files_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "pt").mkdir()
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(CheckpointError, match="--overwrite"):
        claim(tmp_path, overwrite=False)
    claim(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
