"""The command group: help, unknown and broken commands, exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

from swift.core import cli
from swift.core.cli import CommandGroup, package_group, run_group
from swift.core.errors import EXIT_INTERRUPTED, EXIT_USAGE, DataError

END = tuple[int, str, str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., END]:
    """Run a group as its program would; (status, stdout, stderr)."""

    def call(group: click.Group, *words: str) -> END:
        monkeypatch.setattr(sys, "argv", ["swift", *words])
        with pytest.raises(SystemExit) as ended:
            run_group(group)
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return call


def offering(monkeypatch: pytest.MonkeyPatch, **values: str) -> CommandGroup:
    points = [EntryPoint(name, value, cli.GROUP) for name, value in values.items()]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)
    return CommandGroup(name="swift")


def acting(action: Callable[[], object]) -> click.Group:
    return click.Group("swift", {"act": click.Command("act", callback=action)})


def raising(error: BaseException) -> click.Group:
    def act() -> None:
        raise error

    return acting(act)


def test_help_lists_every_command_with_its_summary(run: Callable[..., END]) -> None:
    status, out, _ = run(CommandGroup(name="swift"), "--help")
    assert status == 0
    assert {"sft", "pt", "doctor"} <= {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert "Supervised fine-tuning" in out
    assert "cannot be loaded" not in out


def test_package_executable_offers_only_its_own(run: Callable[..., END]) -> None:
    status, out, _ = run(package_group("swift.tuners"), "--help")
    assert status == 0
    assert "merge" in out
    assert "sft" not in out


def test_unknown_command_names_the_nearest(run: Callable[..., END]) -> None:
    status, _, err = run(CommandGroup(name="swift"), "stf")
    assert status == EXIT_USAGE
    assert "no command 'stf': did you mean 'sft'" in err


def test_command_of_a_package_that_is_not_installed(
    run: Callable[..., END], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = offering(monkeypatch, sft="swift.core.commands.sft:command")
    status, _, err = run(group, "merge")
    assert status == EXIT_USAGE
    assert "no command 'merge': pip install swift-tuners brings it" in err


@pytest.mark.parametrize("value", ["swift.no_such_module:command", "swift.core.commands.sft:no_such_name"])
def test_broken_entry_point_harms_only_itself(
    run: Callable[..., END], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    group = offering(monkeypatch, sft="swift.core.commands.sft:command", broken=value)
    status, out, _ = run(group, "--help")
    assert status == 0
    assert "Supervised fine-tuning" in out
    assert "cannot be loaded" in out
    status, _, err = run(group, "broken")
    assert status == EXIT_USAGE
    assert err.startswith("error: command 'broken' cannot be loaded: ")
    assert "-> reinstall the package" in err


def test_entry_point_that_is_no_command(run: Callable[..., END], monkeypatch: pytest.MonkeyPatch) -> None:
    group = offering(monkeypatch, odd="swift.core.errors:nearest")
    status, _, err = run(group, "odd")
    assert status == EXIT_USAGE
    assert "is not a click command" in err


def test_expected_error_is_two_lines_and_no_traceback(run: Callable[..., END]) -> None:
    status, out, err = run(raising(DataError("no rows in 'a.json'", "name another file")), "act")
    assert (status, out) == (1, "")
    assert err == "error: no rows in 'a.json'\n  -> name another file\n"


def test_interrupt_ends_with_130(run: Callable[..., END]) -> None:
    status, _, err = run(raising(KeyboardInterrupt()), "act")
    assert (status, err.strip()) == (EXIT_INTERRUPTED, "interrupted")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["swift", "act"])
    with pytest.raises(ZeroDivisionError):
        run_group(raising(ZeroDivisionError()))


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (130, 130), (3, 3)])
def test_status_of_a_command_is_the_programs(
    run: Callable[..., END], returned: int | None, status: int
) -> None:
    assert run(acting(lambda: returned), "act")[0] == status


def test_unknown_option(run: Callable[..., END]) -> None:
    status, _, err = run(CommandGroup(name="swift"), "sft", "--no-such-option")
    assert status == EXIT_USAGE
    assert "No such option" in err


def test_training_command_says_what_is_missing(run: Callable[..., END]) -> None:
    status, _, err = run(CommandGroup(name="swift"), "sft")
    assert status == EXIT_USAGE
    assert "data.dataset_name is not set" in err


def test_training_command_refuses_a_second_file(run: Callable[..., END]) -> None:
    status, _, err = run(CommandGroup(name="swift"), "sft", "a.yaml", "b.yaml")
    assert status == EXIT_USAGE
    assert "'b.yaml' is not of the form section.key=value" in err


def test_all_keys_are_one_flag_away(run: Callable[..., END]) -> None:
    status, out, _ = run(CommandGroup(name="swift"), "sft", "--help-config")
    assert status == 0
    assert "learning_rate: " in out
    assert "lora_rank: 8" in out


def test_installed_program(tmp_path: Path) -> None:
    """The real executable, from another working directory, with the error of a real configuration."""
    (tmp_path / "run.yaml").write_text("train:\n  learning_rat: 1\n", encoding="utf-8")
    ended = subprocess.run(
        [str(Path(sys.executable).with_name("swift")), "sft", "run.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == EXIT_USAGE
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert lines[0] == "error: run.yaml:2: unknown key 'train.learning_rat'"
    assert lines[1].startswith("  -> ")
    assert "'learning_rate'" in lines[1]
    assert len(lines) == 2
