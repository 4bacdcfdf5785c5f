"""The commands of swift-tuners: what they print, that they load no torch for it, and how they refuse."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner
from transformers.training_args import OptimizerNames

from swift.core.config.run import run_from_dict
from swift.core.registry import callbacks, optimizers, tuners
from swift.tuners.catalogue import LIBRARY_OPTIMIZERS, methods
from swift.tuners.cli import group
from swift.tuners.commands.tuners import command as swift_tuners


def test_swift_tuners_offers_the_subcommands_directly() -> None:
    result = CliRunner().invoke(group(), ["--help"])
    names = [line.split()[0] for line in result.output.partition("Commands:\n")[2].splitlines()]
    assert names == ["combine", "info", "list", "merge"]
    assert sorted(swift_tuners.commands) == ["combine", "info", "list"]
    assert "did you mean 'merge'" in CliRunner().invoke(group(), ["marge"]).output


@pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "--json"], ["combine", "--help"]])
def test_listing_loads_no_torch(words: list[str]) -> None:
    code = (
        "import sys; from swift.tuners.cli import group\n"
        f"try: group().main({words!r})\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'peft'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_every_method_is_listed_with_what_a_reader_needs() -> None:
    result = CliRunner().invoke(group(), ["list", "--json"])
    found = json.loads(result.output)
    by_kind = {kind: {one["name"] for one in found if one["kind"] == kind} for kind in ("tuner", "optimizer")}
    assert by_kind["tuner"] == set(tuners)
    assert by_kind["optimizer"] == {*optimizers, *(each.value for each in OptimizerNames)}
    assert len(found) == len({(one["kind"], one["name"]) for one in found})
    for one in found:
        assert one["trains"] and one["source"], one["name"]
        assert set(one) == {"name", "kind", "trains", "paper", "source", "needs", "switch"}
    named = {one["name"] for one in found}
    assert {"lisa", "neftune", "galore", "adafactor", "paged_adamw_8bit"} <= named
    assert "lisa" in callbacks


def test_what_needs_nothing_is_there() -> None:
    """A package that an optimiser is implemented in is a need, unless this package brings it."""
    for name, _, _, source, needs in LIBRARY_OPTIMIZERS:
        if not needs:
            assert importlib.util.find_spec(source), name


def test_the_table_has_a_line_for_each_method() -> None:
    result = CliRunner().invoke(group(), ["list"])
    lines = result.output.splitlines()
    assert lines[0].split() == ["name", "kind", "trains", "paper", "source", "needs"]
    assert len(lines) == len(methods()) + 1
    only = CliRunner().invoke(group(), ["list", "--kind", "tuner"]).output.splitlines()
    assert len(only) == len(tuners.names()) + 1


def test_every_switch_is_a_key_of_the_configuration() -> None:
    for method in methods():
        key, _, value = method.switch.partition(": ")
        name, wanted = key.removeprefix("train."), yaml.safe_load(value)
        assert run_from_dict({"train": {name: wanted}}).to_dict()["train"][name] is not None, method.switch
