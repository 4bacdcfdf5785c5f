"""Checkpoints are whole or absent; damaged ones are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from swift.core.errors import CheckpointError
from swift.core.train import checkpoint


def made(output: Path, step: int) -> Path:
    staged = output / checkpoint.STAGING / f"checkpoint-{step}"
    (staged / "sub").mkdir(parents=True)
    (staged / "model.safetensors").write_bytes(bytes(1000))
    (staged / "sub" / "state.json").write_text("{}")
    checkpoint.commit(staged, output / staged.name)
    return output / staged.name


def test_a_committed_checkpoint_is_whole_and_leaves_no_staging(tmp_path: Path) -> None:
    folder = made(tmp_path, 3)
    checkpoint.check(folder)
    assert checkpoint.step_of(folder) == 3
    assert not (tmp_path / checkpoint.STAGING).exists()


def test_committing_again_replaces(tmp_path: Path) -> None:
    folder = made(tmp_path, 3)
    (folder / "stale").touch()
    made(tmp_path, 3)
    assert not (folder / "stale").exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(bytes(10)), ["10 bytes", "1,000"]),
        (lambda folder: (folder / "sub" / "state.json").unlink(), ["sub/state.json", "missing"]),
        (lambda folder: (folder / checkpoint.MANIFEST).unlink(), ["manifest"]),
        (lambda folder: (folder / checkpoint.MANIFEST).write_text('{"files"'), ["manifest"]),
    ],
)
def test_damage_is_named(tmp_path: Path, damage, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    folder = made(tmp_path, 3)
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.check(folder)
    assert all(word in str(caught.value) for word in words)
    assert "train.resume=true" in str(caught.value)


def test_last_good_passes_over_damaged_ones_and_says_so(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        made(tmp_path, step)
    (tmp_path / "checkpoint-10" / "model.safetensors").write_bytes(b"")
    notes: list[str] = []
    assert checkpoint.last_good(tmp_path, notes.append) == tmp_path / "checkpoint-4"
    assert "checkpoint-10" in notes[0]
    assert checkpoint.last_good(tmp_path / "nothing", notes.append) is None


def test_rotation_keeps_the_newest_by_number(tmp_path: Path) -> None:
    for step in (2, 10, 9):
        made(tmp_path, step)
    checkpoint.rotate(tmp_path, 2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10"]
    checkpoint.rotate(tmp_path, None)
    assert len(checkpoint.checkpoints(tmp_path)) == 2


def test_a_folder_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="checkpoint-STEP"):
        checkpoint.step_of(tmp_path / "final")
