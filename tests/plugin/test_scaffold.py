"""Plugins that `swift plugin new` writes: every kind works as it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from swift.core.config.document import parse_document
from swift.core.config.run import parse_run, run_from_dict
from swift.core.errors import ConfigError, RegistryError
from swift.core.train.run import train_in_process
from swift.plugin.scaffold import KINDS, NATIVE_KINDS, write_plugin
from swift.plugin.scaffold.names import class_name
from swift.plugin.scaffold.write import yaml_lines
from swift.plugin.testing import check_files

pytestmark = pytest.mark.usefixtures("untouched_registries")


def named(kind: str) -> str:
    return "my_" + kind.replace(" ", "_")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One plugin of every kind in one folder."""
    folder = tmp_path_factory.mktemp("plugins") / "new"
    for kind in KINDS:
        write_plugin(kind, named(kind), folder)
    return folder


def test_there_is_a_template_of_every_kind(written: Path) -> None:
    files = sorted(path.name for path in written.iterdir())
    assert files == sorted(f"{prefix}{named(kind)}.py" for kind in KINDS for prefix in ("", "test_"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_passes_its_checks(kind: str, written: Path) -> None:
    (report,) = check_files([written / f"{named(kind)}.py"])
    assert (report.kind, report.component.name) == (kind, named(kind))
    assert report.failures == []
    ran = [check for check in report.checks if check.status == "ok"]
    assert len(ran) >= 3, report.checks


def test_the_written_tests_pass(tmp_path: Path) -> None:
    for kind in KINDS:
        write_plugin(kind, named(kind), tmp_path)
    counter = Counter()
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", os.devnull]
    status = pytest.main([*options, f"--rootdir={tmp_path}", str(tmp_path)], plugins=[counter])
    assert status == 0
    assert len(counter.passed) == len(KINDS), "each has a test at least"


class Counter:
    """Files with a test that passed, in a pytest within pytest."""

    def __init__(self) -> None:
        self.passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the file."""
        if report.when == "call" and report.passed:
            self.passed.add(report.location[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_yaml_lines_are_yaml(kind: str, written: Path) -> None:
    path = written / f"{named(kind)}.py"
    lines = yaml_lines(kind, named(kind), [path, written / f"test_{named(kind)}.py"])
    values = yaml.safe_load(lines)
    assert values.pop("plugins") == [str(path)]
    assert named(kind) in str(values)


@pytest.mark.parametrize(
    "kind", ["loss", "optimizer", "scheduler", "callback", "tuner", "objective", "engine"]
)
def test_the_yaml_lines_are_a_configuration(kind: str, tmp_path: Path) -> None:
    lines = yaml_lines(kind, named(kind), write_plugin(kind, named(kind), tmp_path))
    run = parse_run(parse_document(lines))
    assert named(kind) in str(run.to_dict())


def test_a_run_of_nothing_but_new_plugins(tmp_path: Path) -> None:
    kinds = ["model", "dataset", "filter", "template", "loss", "optimizer", "scheduler", "callback", "tuner"]
    written = {kind: write_plugin(kind, f"new_{kind}", tmp_path)[0] for kind in kinds}
    result = train_in_process(
        run_from_dict(
            {
                "plugins": {"load": [str(path) for path in written.values()]},
                "model": {"model_id": "new_model", "tokenizer_id": "tiny/qwen3"},
                "data": {
                    "dataset_name": [{"name": "new_dataset", "config": {"count": 16}}],
                    "filters": ["new_filter"],
                    "template": "new_template",
                },
                "train": {
                    "stage": "sft",
                    "loss_type": "new_loss",
                    "loss_config": {"gamma": 1.0},
                    "tuner_strategy": "new_tuner",
                    "optim": "new_optimizer",
                    "lr_scheduler_type": "new_scheduler",
                    "callbacks": [{"name": "new_callback", "config": {"below": -1.0}}],
                    "output_dir": str(tmp_path / "out"),
                    "learning_rate": 1e-3,
                    "per_device_train_batch_size": 4,
                    "max_steps": 3,
                    "progress": False,
                },
                "device": {"device": "cpu"},
            }
        )
    )
    assert result.steps == 3
    assert (tmp_path / "out" / "final" / "new_tuner.safetensors").is_file()


@pytest.mark.parametrize("native", [False, True])
def test_generated_code_is_formatted(native: bool, tmp_path: Path) -> None:
    for kind in NATIVE_KINDS if native else KINDS:
        write_plugin(kind, named(kind), tmp_path, native=native)
    ruff = Path(sys.executable).with_name("ruff")
    for action in (["check", "--select", "E,F,W,B,UP,C4,SIM,RET"], ["format", "--check"]):
        command = [str(ruff), *action, "--isolated", "--line-length", "110", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


def test_native_plugin_builds_and_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "SWIFT_PLUGIN_CACHE" not in os.environ:
        monkeypatch.setenv("SWIFT_PLUGIN_CACHE", str(tmp_path / "cache"))
    paths = write_plugin("reward", "my_close", tmp_path, native=True)
    assert [path.name for path in paths] == ["my_close_cpp.cpp", "my_close.py", "test_my_close.py"]
    (report,) = check_files(paths[:2])
    assert report.failures == []
    scores = report.component.load()([[]] * 2, ["kitten", "same"], answer=["sitting", "same"])
    assert scores == pytest.approx([4 / 7, 1.0])


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("mine\n")
    with pytest.raises(ConfigError, match=r"test_mine\.py would be overwritten"):
        write_plugin("loss", "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
    assert (tmp_path / "test_mine.py").read_text() == "mine\n"


@pytest.mark.parametrize("name", ["my-loss", "1loss", "class", "", "my loss", "_x", "größe", "a.b"])
def test_names_that_are_no_identifiers(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a plugin") as caught:
        write_plugin("loss", name, tmp_path)
    assert "such as my_loss" in caught.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["copy", "torch", "swift"])
def test_names_of_modules(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a module that others import"):
        write_plugin("loss", name, tmp_path)


def test_a_taken_name(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"reward 'exact_match' exists already: swift-rlhf brings it"):
        write_plugin("reward", "exact_match", tmp_path)


def test_unknown_kinds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no kind 'los'") as caught:
        write_plugin("los", "mine", tmp_path)
    assert "'loss'" in caught.value.remedy
    with pytest.raises(ConfigError, match=r"no template of a callback in C\+\+"):
        write_plugin("callback", "mine", tmp_path, native=True)


def test_kinds_of_two_words_are_written_as_one(tmp_path: Path) -> None:
    for kind in ("agent_format", "agent-format"):
        assert write_plugin(kind, f"mine_{len(kind)}_{kind[5] == '_'}", tmp_path)


def test_class_names() -> None:
    assert [class_name(name) for name in ("my_loss", "focal2", "aB_c")] == ["MyLoss", "Focal2", "ABC"]
