"""Environments are made for real, from a wheel that the test writes: no network."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from swift.core.errors import EngineError
from swift.infer.commands.engines import command
from swift.infer.environments import create, install, python_of, variables
from swift.infer.environments.listing import lines
from swift.infer.environments.place import VARIABLE, folder_of, interpreter_for, missing, record_of
from swift.infer.environments.table import ENVIRONMENTS, Environment


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A row of the table whose only requirement is a wheel beside it."""
    wheel = tmp_path / "tiny_thing-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_thing.py", "answer = 42\n")
        archive.writestr(
            "tiny_thing-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.2\n"
        )
        archive.writestr(
            "tiny_thing-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_thing-1.2.dist-info/RECORD", "")
    row = Environment("tiny", (f"tiny-thing @ {wheel.as_uri()}",), "tiny_thing", ("tiny-thing",))
    monkeypatch.setitem(ENVIRONMENTS, "tiny", row)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "environments"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return row


def test_installed_used_and_removed(tiny: Environment) -> None:
    with pytest.raises(EngineError, match="swift engines install tiny"):
        python_of("tiny")
    said: list[str] = []
    record = install("tiny", say=said.append)
    assert record.version == "1.2" and record.size > 0 and record == record_of("tiny")
    found = subprocess.run(
        [python_of("tiny"), "-c", "import tiny_thing; print(tiny_thing.answer)"],
        env=variables(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "42"
    assert interpreter_for("tiny") == python_of("tiny")
    install("tiny", say=said.append)  # anew
    assert any("deleting" in line for line in said)
    assert create.remove("tiny") and not create.remove("tiny") and not folder_of("tiny").exists()


def test_without_uv_by_venv_and_pip(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    said: list[str] = []
    assert install("tiny", say=said.append).version == "1.2"
    assert any("uv is not installed" in line for line in said) and python_of("tiny").exists()


def test_a_half_made_one_is_never_used(tiny: Environment) -> None:
    with pytest.raises(EngineError, match="ended with status"):
        install("tiny", ["no-such-distribution-at-all==9"])
    assert folder_of("tiny").exists() and missing(tiny) == "half made"
    with pytest.raises(EngineError, match="half made"):
        python_of("tiny")
    assert install("tiny").version == "1.2"


def test_one_made_for_other_versions_is_not_used(tiny: Environment) -> None:
    install("tiny")
    file = folder_of("tiny") / "swift-environment.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "requirements": ["tiny-thing==0.1"]}))
    with pytest.raises(EngineError, match=r"made for other versions \(tiny-thing==0.1\)"):
        python_of("tiny")
    file.write_text("{broken")
    assert missing(tiny) == "half made"


def test_two_at_once_do_not_meet(tiny: Environment) -> None:
    folder_of("tiny").parent.mkdir(parents=True)
    with folder_of("tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EngineError, match="by another process"):
            install("tiny")


def test_a_folder_that_cannot_be(tiny: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(EngineError, match="SWIFT_ENVIRONMENTS"):
        install("tiny")


def test_which_python_runs_an_engine(tiny: Environment, tmp_path: Path) -> None:
    assert interpreter_for("tiny", sys.executable) == Path(sys.executable)
    for wrong in (str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(EngineError, match="is no program"):
            interpreter_for("tiny", wrong)
    with pytest.raises(EngineError, match="did you mean 'tiny'"):
        interpreter_for("tiyn")


def test_the_list_names_every_engine(tiny: Environment) -> None:
    by_name = {line.name: line for line in lines()}
    assert {"transformers", "remote", "vllm", "sglang", "lmdeploy", "llmcompressor", "gptqmodel"} <= set(
        by_name
    )
    assert by_name["transformers"].state == "ready" and by_name["transformers"].version
    assert "swift engines install sglang" in by_name["sglang"].state
    assert by_name["tiny"].state == "not installed: swift engines install tiny"
    install("tiny")
    assert {line.name: line for line in lines()}["tiny"].state == "ready"


def test_the_command(tiny: Environment) -> None:
    runner = CliRunner()
    listed = runner.invoke(command, [])
    assert listed.exit_code == 0 and "transformers" in listed.output and "tiny" in listed.output
    made = runner.invoke(command, ["install", "tiny"], catch_exceptions=False)
    assert made.exit_code == 0 and "tiny 1.2:" in made.output and " MB in " in made.output
    assert "deleted" in runner.invoke(command, ["remove", "tiny"]).output
    unknown = runner.invoke(command, ["install", "vlm"])
    assert isinstance(unknown.exception, EngineError) and "did you mean 'vllm'" in str(unknown.exception)
