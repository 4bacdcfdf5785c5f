"""The user's own components: decorators, files, modules."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import swift.plugin
from swift.core import registry
from swift.core.errors import ConfigError, RegistryError
from swift.core.registry import REGISTRIES, Registry
from swift.plugin import register_loss, register_reward
from swift.plugin.load import load_plugins

REGISTER_REWARD = """\
from swift.plugin import register_reward

@register_reward({name!r})
def reward(prompts, completions, **columns):
    return [float(len(text)) for text in completions]
"""


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Leave every registry as it was."""
    before = {kind: dict(known._registered) for kind, known in REGISTRIES.items()}
    yield
    for kind, known in REGISTRIES.items():
        known._registered.clear()
        known._registered.update(before[kind])


def plugin(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_decorator_keeps_the_function_and_its_facts() -> None:
    @register_loss("focal", reduction="sum")
    def focal(logits: int) -> int:
        """Down-weights easy tokens.

        More text.
        """
        return logits + 1

    component = registry.losses.get("focal")
    assert focal(1) == 2
    assert registry.losses.build("focal", 2) == 3
    assert component.summary == "Down-weights easy tokens."
    assert component.attributes == (("reduction", "sum"),)


def test_name_twice() -> None:
    register_reward("short")(len)
    with pytest.raises(RegistryError, match="reward 'short' is registered twice"):
        register_reward("short")(len)


@pytest.mark.parametrize("name", swift.plugin.__all__)
def test_every_decorator_fills_its_registry(name: str) -> None:
    kind = name.removeprefix("register_")
    getattr(swift.plugin, name)("probe")(dict)
    known: Registry = REGISTRIES[kind]
    assert known.get("probe").load() is dict
    assert f"the {kind} registry" in getattr(swift.plugin, name).__doc__


def test_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    plugin(tmp_path, REGISTER_REWARD.format(name="length"))
    load_plugins(["mine.py"], tmp_path)
    assert registry.rewards.build("length", prompts=[], completions=["ab", "c"]) == [2.0, 1.0]


def test_unchanged_file_is_loaded_once(tmp_path: Path) -> None:
    path = plugin(tmp_path, REGISTER_REWARD.format(name="once"))
    load_plugins([str(path), str(path)])
    load_plugins(["mine.py"], tmp_path)
    assert "once" in registry.rewards


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        plugin(tmp_path / folder, REGISTER_REWARD.format(name=f"reward_{folder}"))
    load_plugins([str(tmp_path / "a" / "mine.py"), str(tmp_path / "b" / "mine.py")])
    assert {"reward_a", "reward_b"} <= set(registry.rewards.names())


def test_folder_of_a_plugin_never_shadows_the_standard_library(tmp_path: Path) -> None:
    plugin(tmp_path, "raise RuntimeError('the wrong copy')\n", "copy.py")
    before = list(sys.path)
    load_plugins([str(plugin(tmp_path, "import copy\ncopy.deepcopy([])\n"))])
    assert sys.path == before


def test_missing_file_lists_the_places(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plugin 'gone\.py' does not exist") as caught:
        load_plugins(["gone.py"], tmp_path)
    assert str(tmp_path / "gone.py") in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / 0\n", "ZeroDivisionError"),
        ("def (:\n", "SyntaxError"),
        ("import no_such_module\n", "no_such_module"),
    ],
)
def test_file_that_fails(tmp_path: Path, text: str, reason: str) -> None:
    path = plugin(tmp_path, text)
    with pytest.raises(ConfigError, match=reason):
        load_plugins([str(path)])
    plugin(tmp_path, REGISTER_REWARD.format(name="mended"))
    load_plugins([str(path)])
    assert "mended" in registry.rewards, "a mended file is tried again"


def test_module_by_name_and_module_that_is_missing() -> None:
    load_plugins(["json"])
    with pytest.raises(ConfigError, match=r"plugin module 'no\.such' cannot be imported") as caught:
        load_plugins(["no.such"])
    assert "installed module" in caught.value.remedy
