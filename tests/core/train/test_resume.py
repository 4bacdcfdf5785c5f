"""kill -9, resume, and the same bits as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from swift.core.config.run import run_from_dict
from swift.core.errors import CheckpointError, ConfigError
from swift.core.train import checkpoint
from swift.core.train.record import claim_output
from swift.core.train.run import train_in_process

Sections = dict[str, dict[str, Any]]
ForkRun = Callable[..., BaseProcess]
BOUND = 180.0


def finished(process: BaseProcess) -> int | None:
    process.join(BOUND)
    return process.exitcode


def wait_for(condition: Callable[[], bool], process: BaseProcess) -> None:
    deadline = time.monotonic() + BOUND
    while not condition():
        assert process.is_alive(), f"the run ended with {process.exitcode} before the condition held"
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def weights(output: Path) -> dict[str, Any]:
    return {path.name: load_file(path) for path in sorted((output / "final").glob("*.safetensors"))}


def assert_same_bits(first: Path, second: Path) -> None:
    one, two = weights(first), weights(second)
    assert one and one.keys() == two.keys()
    for name in one:
        assert one[name].keys() == two[name].keys()
        for key, value in one[name].items():
            assert value.tobytes() == two[name][key].tobytes(), key


def reports(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def changed(sections: Sections, **changes: dict[str, Any]) -> Sections:
    return {name: {**sections.get(name, {}), **changes.get(name, {})} for name in {*sections, *changes}}


REWARD = """
from swift.plugin import register_reward

@register_reward("vowels")
def vowels(prompts, completions, **columns):
    return [sum(letter in "aeiou" for letter in text) / 10 for text in completions]
"""

VARIANTS: dict[str, Sections] = {
    "full": {},
    "lora with accumulation": {
        "train": {
            "tuner_strategy": "lora",
            "lora_rank": 4,
            "lora_dropout": 0.1,
            "gradient_accumulation_steps": 2,
        }
    },
    "grpo with roll-outs used twice": {
        "plugins": {"load": ["vowels.py"]},
        "train": {
            "stage": "grpo",
            "reward_funcs": ["vowels"],
            "num_iterations": 2,
            "num_generations": 4,
            "max_completion_length": 6,
            "save_steps": 1,
        },
    },
    "packed over two epochs": {"data": {"packing": True}, "train": {"per_device_train_batch_size": 1}},
}


@pytest.mark.usefixtures("untouched_registries")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_run_resumes_to_the_same_bits(
    variant: str, sections: Sections, tmp_path: Path, fork_run: ForkRun
) -> None:
    sections = changed(sections, **VARIANTS[variant])
    if "plugins" in sections:
        (tmp_path / "vowels.py").write_text(REWARD)
        sections = changed(sections, plugins={"load": [str(tmp_path / "vowels.py")]})
    straight = tmp_path / "straight"
    assert finished(fork_run(changed(sections, train={"output_dir": str(straight)}))) == 0

    output = Path(sections["train"]["output_dir"])
    process = fork_run(sections)
    # an odd number: between the two updates of one roll-out, where there are two
    wait_for(lambda: any(checkpoint.step_of(path) >= 7 for path in checkpoint.checkpoints(output)), process)
    process.kill()
    assert finished(process) == -signal.SIGKILL
    assert not (output / "final").exists()

    resuming = changed(sections, train={"resume": True})
    start = claim_output(run_from_dict(resuming))
    assert start is not None
    assert finished(fork_run(resuming, start)) == 0
    assert_same_bits(straight, output)
    steps = [row["step"] for row in reports(output) if "loss" in row]
    assert steps == list(range(1, 13))
    assert len({row["loss"] for row in reports(straight) if "loss" in row}) > 5, "the run does learn"
    expected = {row["step"]: row["loss"] for row in reports(straight) if "loss" in row}
    assert {row["step"]: row["loss"] for row in reports(output) if "loss" in row} == expected


def test_ctrl_c_saves_and_exits_130(sections: Sections, fork_run: ForkRun) -> None:
    sections = changed(sections, train={"max_steps": 500, "save_steps": 400})
    output = Path(sections["train"]["output_dir"])
    process = fork_run(sections)
    wait_for(lambda: (output / "metrics.jsonl").exists(), process)
    os.kill(process.pid or 0, signal.SIGINT)
    assert finished(process) == 130
    (saved,) = checkpoint.checkpoints(output)
    checkpoint.check(saved)
    assert checkpoint.step_of(saved) == reports(output)[-1]["step"]
    assert json.loads((output / "run.json").read_text())["status"] == "interrupted"
    assert not (output / "final").exists()


def test_a_full_disk_keeps_the_last_good_checkpoint(
    sections: Sections, fork_run: ForkRun, tmp_path: Path
) -> None:
    """The kernel refuses files larger than a limit that a checkpoint needs."""
    output = Path(sections["train"]["output_dir"])
    assert finished(fork_run(changed(sections, train={"max_steps": 4}))) == 0
    (good,) = checkpoint.checkpoints(output)
    resuming = changed(sections, train={"resume": True, "max_steps": 8})
    start = claim_output(run_from_dict(resuming))
    process = fork_run(resuming, start, file_limit=1_000_000)
    assert finished(process) == CheckpointError.exit_code
    assert checkpoint.checkpoints(output) == [good]
    checkpoint.check(good)
    assert not (output / checkpoint.STAGING).exists()
    assert json.loads((output / "run.json").read_text())["status"] == "failed"
    assert finished(fork_run(resuming, start)) == 0, "with space again the run goes on"


def test_resuming_a_finished_run_takes_no_step(sections: Sections, fork_run: ForkRun) -> None:
    short = changed(sections, train={"max_steps": 2, "save_steps": 2})
    output = Path(short["train"]["output_dir"])
    assert finished(fork_run(short)) == 0
    before = weights(output)
    assert finished(fork_run(short, output / "checkpoint-2")) == 0
    assert [path.name for path in checkpoint.checkpoints(output)] == ["checkpoint-2"]
    assert json.loads((output / "run.json").read_text())["steps"] == 2
    after = weights(output)
    assert all(
        value.tobytes() == after[name][key].tobytes()
        for name, tensors in before.items()
        for key, value in tensors.items()
    )


def test_a_checkpoint_of_another_tuner_is_refused(sections: Sections, fork_run: ForkRun) -> None:
    short = changed(sections, train={"max_steps": 2, "save_steps": 2})
    output = Path(short["train"]["output_dir"])
    assert finished(fork_run(short)) == 0
    other = changed(short, train={"tuner_strategy": "lora", "max_steps": 4})
    with pytest.raises(CheckpointError, match="does not fit this run"):
        train_in_process(run_from_dict(other), output / "checkpoint-2")
    checkpoint.check(output / "checkpoint-2")


def test_what_a_killed_save_left_goes_when_the_run_is_resumed(sections: Sections, tmp_path: Path) -> None:
    torn = Path(sections["train"]["output_dir"]) / checkpoint.STAGING / "checkpoint-4"
    torn.mkdir(parents=True)
    (torn / "model.safetensors").write_bytes(b"half")
    assert claim_output(run_from_dict(changed(sections, train={"resume": True}))) is None
    assert not torn.exists()


def test_an_occupied_folder_is_refused_and_untouched(sections: Sections, tmp_path: Path) -> None:
    output = Path(sections["train"]["output_dir"])
    (output / "checkpoint-4").mkdir(parents=True)
    (output / "run.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"train\.resume=true.*overwrite_output_dir"):
        claim_output(run_from_dict(sections))
    assert (output / "checkpoint-4").exists()
    (output / "mine.txt").write_text("keep")
    assert claim_output(run_from_dict(changed(sections, train={"overwrite_output_dir": True}))) is None
    assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_a_run_that_failed_before_its_first_step_occupies_nothing(sections: Sections) -> None:
    run = run_from_dict(changed(sections, train={"optim_config": {"rank": 0}, "optim": "galore"}))
    output = Path(run.checkpoint.output_dir)
    with pytest.raises(ConfigError, match="rank of galore is 0"):
        train_in_process(run)
    assert json.loads((output / "run.json").read_text())["status"] == "failed"
    assert claim_output(run) is None
    (output / "metrics.jsonl").touch()
    with pytest.raises(CheckpointError, match="already holds a run"):
        claim_output(run)


def test_a_checkpoint_of_elsewhere_does_not_mix_with_another_run(sections: Sections, tmp_path: Path) -> None:
    output = Path(sections["train"]["output_dir"])
    (output / "checkpoint-4").mkdir(parents=True)
    start = tmp_path / "elsewhere" / "checkpoint-2"
    start.mkdir(parents=True)
    (start / checkpoint.MANIFEST).write_text('{"files": {}}')
    train = {"resume_from_checkpoint": str(start)}
    with pytest.raises(CheckpointError, match="already holds a run"):
        claim_output(run_from_dict(changed(sections, train=train)))
    assert (output / "checkpoint-4").exists()
    train["output_dir"] = str(tmp_path / "fresh")
    assert claim_output(run_from_dict(changed(sections, train=train))) == start


def test_a_checkpoint_under_another_name_is_refused(sections: Sections, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / checkpoint.MANIFEST).write_text('{"files": {}}')
    train = {"resume_from_checkpoint": str(tmp_path / "backup")}
    with pytest.raises(CheckpointError, match="not called checkpoint-STEP"):
        claim_output(run_from_dict(changed(sections, train=train)))


def test_a_truncated_checkpoint_is_named(sections: Sections, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    (folder / checkpoint.MANIFEST).write_text('{"files": {"model.safetensors": 99}}')
    with pytest.raises(CheckpointError, match=r"0 bytes instead of 99"):
        claim_output(run_from_dict(changed(sections, train={"resume_from_checkpoint": str(folder)})))
