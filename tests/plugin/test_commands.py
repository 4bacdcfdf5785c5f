"""`swift plugin list`, `check` and `new`, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from swift.core.commands.plugin import command as plugin
from swift.core.commands.plugin.check import parse_configs
from swift.core.errors import ConfigError, RegistryError
from swift.core.registry import REGISTRIES

pytestmark = pytest.mark.usefixtures("untouched_registries")

LOSSES = """\
import torch
from swift.plugin import register_loss

@register_loss("good")
def good(inputs, targets, power=1.0):
    '''A loss that is fine.'''
    return torch.nn.functional.cross_entropy(inputs, targets) ** power

@register_loss("bad")
def bad(inputs, targets):
    return torch.nn.functional.cross_entropy(inputs, targets).detach()
"""


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    path = tmp_path / "losses.py"
    path.write_text(LOSSES, encoding="utf-8")
    return path


def run(*words: Any) -> Any:
    return plugin.main([str(word) for word in words], standalone_mode=False)


def swift(*words: Any) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "swift.core.cli", *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_check_names_what_passes_and_what_fails(losses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", losses) == 1
    shown = capsys.readouterr().out
    assert f"loss 'good' ({losses}:4)\n  ok              signature\n" in shown
    assert "  ok              on tokens: token logits [N, V]" in shown
    assert (
        f"  failed          on inputs of any kind: loss 'bad' ({losses}:9) returned a detached tensor"
        in shown
    )
    assert "-> remove .detach()" in shown
    assert shown.endswith("2 parts checked, 1 check failed\n")


def test_check_of_what_is_right(losses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses.write_text(LOSSES.partition('@register_loss("bad")')[0])
    assert run("check", losses) == 0
    assert capsys.readouterr().out.endswith("1 part checked, none failed\n")


def test_check_with_arguments(losses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses.write_text(LOSSES.partition('@register_loss("bad")')[0])
    assert run("check", losses, "--config", '{"power": 2}') == 0
    assert run("check", losses, "--config", 'good={"strength": 2}') == 1
    assert "has no argument 'strength'" in capsys.readouterr().out
    assert run("check", losses, "--config", 'best={"power": 2}') == 1
    assert "arguments for 'best', which is not registered" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module\n", "no_such_module"),
        ("x = 1\n", "registers nothing"),
        ("def (:\n", "SyntaxError"),
    ],
)
def test_check_of_what_does_not_load(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    assert run("check", path) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("failed: plugin ")
    assert str(path) in shown
    assert reason in shown


def test_exit_status_of_the_program(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import no_such_module\n")
    result = swift("plugin", "check", path)
    assert (result.returncode, result.stderr) == (1, "")
    assert result.stdout.startswith(f"failed: plugin {path}:1 cannot be imported")


@pytest.mark.parametrize("text", ["{gamma: 2}", "[1]", "x=2", "{}"])
def test_arguments_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="--config"):
        parse_configs((text,), ["one", "two"])


def test_arguments() -> None:
    assert parse_configs(('{"a": 1}',), ["one"]) == {"one": {"a": 1}}
    assert parse_configs(('two={"a": "x=y"}', "one={}"), ["one", "two"]) == {"two": {"a": "x=y"}, "one": {}}


def listed(*words: Any, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    run("list", "--json", *words)
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return found


def test_list_shows_every_registered_name(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed(capsys=capsys)
    expected = {(kind, name) for kind, known in REGISTRIES.items() for name in known.names()}
    assert {(line["kind"], line["name"]) for line in lines} == expected
    lora = next(line for line in lines if line["name"] == "lora")
    assert lora["package"] == "swift-tuners"
    assert lora["trust"] == "trusted"
    assert "lora_rank=8, " in lora["signature"]
    assert "low-rank" in lora["summary"]


def test_list_shows_plugins(losses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = next(line for line in listed(losses, "--kind", "loss", capsys=capsys) if line["name"] == "good")
    assert good == {
        "kind": "loss",
        "name": "good",
        "package": f"{losses}:4",
        "signature": "(inputs, targets, power=1.0)",
        "trust": "trusted",
        "summary": "A loss that is fine.",
    }


def test_list_of_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert {line["kind"] for line in listed("--kind", "tiny_model", capsys=capsys)} == {"tiny model"}
    with pytest.raises(RegistryError, match="there is no kind 'tuners'") as caught:
        run("list", "--kind", "tuners")
    assert "'tuner'" in caught.value.remedy


def test_signatures_are_loaded_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    def of_cross_entropy(*words: str) -> str:
        lines = listed("--kind", "loss", *words, capsys=capsys)
        return next(line["signature"] for line in lines if line["name"] == "cross_entropy")

    assert of_cross_entropy() == ""
    assert "targets" in of_cross_entropy("--signatures")


def test_table(losses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("list", losses, "--kind", "loss")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["kind", "name", "package", "trust", "summary"]
    row = next(line for line in lines if line.startswith("loss  good "))
    assert row.index("trusted") == lines[0].index("trust")
    assert "    good(inputs, targets, power=1.0)" in lines


def test_list_imports_no_torch() -> None:
    code = (
        "import sys; from swift.core.commands.plugin import command;"
        "command.main(['list'], standalone_mode=False);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_new_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("new", "loss", "mine", "--directory", tmp_path)
    shown = capsys.readouterr().out
    assert f"wrote {tmp_path / 'mine.py'}" in shown
    assert f"plugins: [{tmp_path / 'mine.py'}]\ntrain: {{loss_type: mine, loss_config: {{}}}}" in shown
    assert f"swift plugin check {tmp_path / 'mine.py'}\npytest {tmp_path / 'test_mine.py'}" in shown


def test_new_lists_every_kind_in_its_help() -> None:
    new = plugin.get_command(click.Context(plugin), "new")
    assert new is not None and new.help is not None
    from swift.plugin.scaffold import KINDS

    words = new.help.replace("\n", " ").replace(",", " ").replace(".", " ").split()
    assert {kind.replace(" ", "_") for kind in KINDS} <= set(words)


def test_the_guide_knows_every_kind_and_setting() -> None:
    from swift.plugin.contract import CONTRACTS

    guide = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    for contract in CONTRACTS.values():
        row = next(
            line for line in guide.splitlines() if line.startswith(f"| `{contract.kind.replace(' ', '_')}` |")
        )
        for name in (*contract.called, *contract.built, *contract.extras, *contract.built_extras):
            assert name in row, f"{contract.kind}: {name}"
