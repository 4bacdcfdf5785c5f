"""The user's own components: decorators, files, modules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import swift.plugin
from swift.core import registry
from swift.core.config.schema import PluginsConfig
from swift.core.errors import ConfigError, PluginError, RegistryError
from swift.core.registry import REGISTRIES, Registry
from swift.plugin import register_loss, register_reward
from swift.plugin.load import Loaded
from swift.plugin.load import load_plugins as load

pytestmark = pytest.mark.usefixtures("untouched_registries")

REGISTER_REWARD = """\
from swift.plugin import register_reward

@register_reward({name!r})
def reward(prompts, completions, **columns):
    return [float(len(text)) for text in completions]
"""


def load_plugins(items: Any, folder: Path | None = None) -> list[Loaded]:
    """Load what `plugins:` would name."""
    return load(PluginsConfig.model_validate({"load": items}), folder)


def plugin(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_decorator_keeps_the_function_and_its_facts() -> None:
    @register_loss("focal", form="pairs")
    def focal(inputs: int, targets: int) -> int:
        """Down-weights easy tokens.

        More text.
        """
        return inputs + targets

    component = registry.losses.get("focal")
    assert focal(1, 2) == 3
    assert registry.losses.build("focal", 2, 2) == 4
    assert component.summary == "Down-weights easy tokens."
    assert component.attributes == (("form", "pairs"),)
    place, _, line = component.place.rpartition(":")
    assert (place, line.isdigit()) == (__file__, True)


def test_name_twice_in_one_program() -> None:
    def short(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return []

    register_reward("short")(short)
    with pytest.raises(RegistryError, match="reward 'short' is registered twice") as caught:
        register_reward("short")(short)
    assert caught.value.problem.count(f"{__file__}:") == 2, "both places are named"


def test_a_file_that_registers_a_name_twice(tmp_path: Path) -> None:
    text = REGISTER_REWARD.format(name="double")
    path = plugin(tmp_path, text + text)
    with pytest.raises(PluginError, match="reward 'double' is registered twice") as caught:
        load_plugins([str(path)])
    assert f"{path}:3 and {path}:8" in caught.value.problem
    assert "choose another name" in caught.value.remedy
    assert "double" not in registry.rewards, "nothing of a broken plugin stays"


def test_a_file_that_registers_a_taken_name(tmp_path: Path) -> None:
    path = plugin(tmp_path, REGISTER_REWARD.format(name="exact_match"))
    with pytest.raises(PluginError, match=f"'exact_match' is registered twice: swift-rlhf and {path}:3"):
        load_plugins([str(path)])


def test_a_file_that_registers_nothing(tmp_path: Path) -> None:
    path = plugin(tmp_path, "import math\n")
    with pytest.raises(PluginError, match=rf"plugin '{path}' registers nothing") as caught:
        load_plugins([str(path)])
    assert "@register_loss" in caught.value.remedy


def test_a_file_with_a_wrong_signature(tmp_path: Path) -> None:
    text = "from swift.plugin import register_loss\n\n@register_loss('half')\ndef half(inputs): ...\n"
    path = plugin(tmp_path, text)
    with pytest.raises(PluginError, match="no place for 'targets'") as caught:
        load_plugins([str(path)])
    assert f"{path}:3" in caught.value.problem
    assert "contract: a loss is called as (inputs, targets" in caught.value.problem
    assert "def NAME(inputs, targets)" in caught.value.remedy
    assert "half" not in registry.losses


@pytest.mark.parametrize("name", swift.plugin.__all__)
def test_every_decorator_fills_its_registry(name: str) -> None:
    kind = name.removeprefix("register_").replace("_", " ")

    def anything(*args: Any, **kwargs: Any) -> None:
        return

    getattr(swift.plugin, name)("probe")(anything)
    known: Registry = REGISTRIES[kind]
    assert known.get("probe").load() is anything
    assert f"the {kind} registry" in getattr(swift.plugin, name).__doc__


def test_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    plugin(tmp_path, REGISTER_REWARD.format(name="length"))
    load_plugins("mine.py", tmp_path)
    assert registry.rewards.build("length", prompts=[], completions=["ab", "c"]) == [2.0, 1.0]


def test_unchanged_file_is_loaded_once(tmp_path: Path) -> None:
    path = plugin(tmp_path, REGISTER_REWARD.format(name="once"))
    first, second = load_plugins([str(path), str(path)])
    (third,) = load_plugins(["mine.py"], tmp_path)
    assert first is second is third
    assert "once" in registry.rewards


def test_a_changed_file_takes_its_own_place(tmp_path: Path) -> None:
    path = plugin(tmp_path, REGISTER_REWARD.format(name="before"))
    load_plugins([str(path)])
    plugin(tmp_path, REGISTER_REWARD.format(name="after"))
    load_plugins([str(path)])
    assert "after" in registry.rewards
    assert "before" not in registry.rewards


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        plugin(tmp_path / folder, REGISTER_REWARD.format(name=f"reward_{folder}"))
    load_plugins([str(tmp_path / "a" / "mine.py"), str(tmp_path / "b" / "mine.py")])
    assert {"reward_a", "reward_b"} <= set(registry.rewards.names())


def test_folder_of_a_plugin_never_shadows_the_standard_library(tmp_path: Path) -> None:
    plugin(tmp_path, "raise RuntimeError('the wrong copy')\n", "copy.py")
    text = "import copy\ncopy.deepcopy([])\n" + REGISTER_REWARD.format(name="copied")
    before = list(sys.path)
    load_plugins([str(plugin(tmp_path, text))])
    assert sys.path == before


def test_missing_file_lists_the_places(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plugin 'gone\.py' does not exist") as caught:
        load_plugins(["gone.py"], tmp_path)
    assert str(tmp_path / "gone.py") in caught.value.remedy


def test_missing_file_of_the_working_directory_is_looked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_plugins(["gone.py"], tmp_path)
    assert caught.value.remedy == f"looked for {tmp_path / 'gone.py'}"


@pytest.mark.parametrize("decorator", ["@register_reward", "@register_reward(5)", "@register_reward('')"])
def test_decorator_without_a_name(decorator: str, tmp_path: Path) -> None:
    text = f"from swift.plugin import register_reward\n{decorator}\ndef mine(*given): ...\n"
    with pytest.raises(PluginError, match=r"mine\.py:2: @register_reward got .* not a name") as caught:
        load_plugins([str(plugin(tmp_path, text))])
    assert '@register_reward("NAME")' in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "line", "reason", "remedy"),
    [
        ("import math\n1 / 0\n", 2, "ZeroDivisionError", "correct that line"),
        ("\ndef (:\n", 2, "SyntaxError", "correct that line"),
        ("import no_such_module\n", 1, "no_such_module", "install no_such_module"),
        ("import sys\n\nsys.exit(0)\n", 3, "SystemExit", "correct that line"),
    ],
)
def test_file_that_does_not_import(tmp_path: Path, text: str, line: int, reason: str, remedy: str) -> None:
    path = plugin(tmp_path, text)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_plugins([str(path)])
    assert f"{path}:{line} " in caught.value.problem
    assert remedy in caught.value.remedy
    plugin(tmp_path, REGISTER_REWARD.format(name="mended"))
    load_plugins([str(path)])
    assert "mended" in registry.rewards, "a mended file is tried again"


def test_a_module_beside_the_plugin_is_not_searched(tmp_path: Path) -> None:
    plugin(tmp_path, "x = 1\n", "helpers.py")
    with pytest.raises(ConfigError, match="helpers") as caught:
        load_plugins([str(plugin(tmp_path, "import helpers\n"))])
    assert "put both into one file" in caught.value.remedy


def test_module_by_name_and_module_that_is_missing() -> None:
    load_plugins(["json"])
    with pytest.raises(ConfigError, match=r"plugin no\.such cannot be imported") as caught:
        load_plugins(["no.such"])
    assert "installed module" in caught.value.remedy


def test_module_that_registers_nothing() -> None:
    sys.modules.pop("colorsys", None)
    with pytest.raises(PluginError, match="'colorsys' registers nothing"):
        load_plugins(["colorsys"])
