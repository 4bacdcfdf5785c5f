"""Entry points: declared, installed, listed in the catalog, loadable, cheap, and at peace over their keys."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from swift.core.catalog import PROVIDERS
from swift.core.cli import GROUP
from swift.core.config.sections import CHOICES, SECTIONS, key_owners
from swift.core.registry import REGISTRIES, Component, check_same_claims

ROOT = Path(__file__).parents[2]
GROUPS = {**{kind: known.group for kind, known in REGISTRIES.items()}, "command": GROUP}
KINDS = {group: kind for kind, group in GROUPS.items()}
HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate", "vllm")


def declared() -> dict[str, dict[tuple[str, str], str]]:
    """distribution -> (group, name) -> value, as the packages' pyproject.toml write them."""
    found = {}
    for path in sorted((ROOT / "packages").glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        groups: dict[str, dict[str, str]] = project.get("entry-points", {})
        found[project["name"]] = {
            (group, name): value for group, entries in groups.items() for name, value in entries.items()
        }
    return found


DECLARED = declared()
ENTRIES = [
    EntryPoint(name, value, group)
    for entries in DECLARED.values()
    for (group, name), value in entries.items()
]


def label(entry: EntryPoint) -> str:
    return f"{KINDS.get(entry.group, entry.group)}:{entry.name}"


def modules_after(statement: str) -> set[str]:
    """Names in sys.modules of a fresh interpreter that ran a statement."""
    script = f"import sys, json\n{statement}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return set(json.loads(ended.stdout.splitlines()[-1]))


def test_every_declared_group_is_one_that_core_reads() -> None:
    assert {entry.group for entry in ENTRIES} <= set(KINDS)


def test_environment_holds_what_is_declared() -> None:
    installed = {
        (entry.group, entry.name): entry.value
        for group in KINDS
        for entry in entry_points(group=group)
        if entry.dist is not None and entry.dist.name in DECLARED
    }
    declared_now = {(entry.group, entry.name): entry.value for entry in ENTRIES}
    assert installed == declared_now, "the environment is older than the pyproject.toml files: uv sync"


def test_catalog_equals_what_the_packages_declare() -> None:
    """Core's own names are never missing where the catalog is read, so it does not list them."""
    offered: dict[str, dict[str, str]] = {}
    for distribution, entries in DECLARED.items():
        for group, name in entries:
            if distribution != "swift-core":
                offered.setdefault(KINDS[group], {})[name] = distribution
    assert {kind: names for kind, names in PROVIDERS.items() if names} == offered


@pytest.mark.parametrize("entry", ENTRIES, ids=label)
def test_entry_point_loads(entry: EntryPoint) -> None:
    loaded = entry.load()
    if entry.group == GROUP:
        assert isinstance(loaded, click.Command)
        assert loaded.name == entry.name
        assert loaded.get_short_help_str()
        return
    assert isinstance(loaded, Component)
    assert loaded.name == entry.name
    assert loaded.summary
    assert callable(loaded.load())


@pytest.mark.parametrize("kind", REGISTRIES)
def test_alternatives_share_keys_only_with_one_type(kind: str) -> None:
    for one, other in itertools.combinations(REGISTRIES[kind].all(), 2):
        check_same_claims(kind, one, other)


def combinations(section: str) -> Iterator[dict[str, type[BaseModel]]]:
    """Every way to choose the parts of a section."""
    choices = CHOICES[section]
    for chosen in itertools.product(*(choice.registry.all() for choice in choices)):
        parts: dict[str, type[BaseModel]] = dict(SECTIONS[section])
        for choice, component in zip(choices, chosen, strict=True):
            if component.config is not None:
                parts[choice.part] = component.config
        yield parts


@pytest.mark.parametrize("section", CHOICES)
def test_a_key_of_a_section_belongs_to_one_part(section: str) -> None:
    for parts in combinations(section):
        owners = key_owners(parts, section)
        assert set(owners.values()) <= parts.keys()


@pytest.mark.parametrize("section", CHOICES)
def test_every_key_is_described(section: str) -> None:
    for parts in combinations(section):
        for part, config in parts.items():
            missing = [name for name, field in config.model_fields.items() if not field.description]
            assert not missing, f"{section}, {part}: no description of {missing}"


def test_component_and_command_modules_load_nothing_heavy() -> None:
    names = sorted({entry.module for entry in ENTRIES})
    loaded = modules_after(
        "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names)
    )
    assert loaded.isdisjoint(HEAVY), "import of a component or command module"
    assert set(names) <= loaded


@pytest.mark.parametrize("words", [["--help"], ["sft", "--help"]], ids=" ".join)
def test_help_loads_neither_torch_nor_pydantic(words: list[str]) -> None:
    call = "from swift.core.cli import main\ntry: main()\nexcept SystemExit: pass"
    loaded = modules_after(f"sys.argv = {['swift', *words]!r}\n{call}")
    assert loaded.isdisjoint({*HEAVY, "pydantic", "numpy", "rich", "yaml"})
    assert "click" in loaded


def test_parsing_a_configuration_loads_nothing_heavy() -> None:
    run = (
        "from swift.core.config.run import run_from_dict\n"
        "train = {'stage': 'dpo', 'tuner_strategy': 'lora'}\n"
        "run_from_dict({'train': train, 'device': {'parallel_method': 'ddp'}})"
    )
    assert modules_after(run).isdisjoint(HEAVY)


def test_kernels_load_without_torch() -> None:
    assert modules_after("import swift.kernels").isdisjoint({*HEAVY, "click", "pydantic", "swift.core"})
