"""Components by name: lazy, unique, helpful when they are missing."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest
from pydantic import Field

from swift.core import registry as module
from swift.core.config.schema import Config
from swift.core.errors import RegistryError
from swift.core.registry import REGISTRIES, Component, Registry, engines, objectives


class WholeConfig(Config):
    """A rank that is a whole number."""

    rank: int = Field(8, description="rank")


class BrokenRankConfig(Config):
    """A rank that is a fraction."""

    rank: float = Field(0.5, description="rank")


@pytest.fixture
def tools() -> Registry:
    return Registry("tool", "swift.no_such_group")


def offer(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    points = [EntryPoint(name, value, "swift.no_such_group") for name, value in entries]
    monkeypatch.setattr(module, "entry_points", lambda group: points)


def test_register_get_build(tools: Registry) -> None:
    tools.register(Component("saw", dict, summary="cuts"))
    assert tools.names() == ["saw"]
    assert "saw" in tools
    assert tools.get("saw").summary == "cuts"
    assert tools.build("saw", teeth=3) == {"teeth": 3}


def test_registered_twice(tools: Registry) -> None:
    tools.register(Component("saw", dict))
    with pytest.raises(RegistryError, match="tool 'saw' is registered twice") as caught:
        tools.register(Component("saw", list))
    assert "taken: saw" in caught.value.remedy


def test_name_of_an_installed_component_is_taken() -> None:
    with pytest.raises(RegistryError, match="objective 'sft' is registered twice"):
        objectives.register(Component("sft", dict))


def test_unregister_frees_the_name(tools: Registry) -> None:
    tools.register(Component("saw", dict))
    tools.unregister("saw")
    tools.unregister("never there")
    tools.register(Component("saw", list))
    assert tools.build("saw") == []


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(RegistryError, match="unknown tiny model 'qwen33'") as caught:
        REGISTRIES["tiny model"].get("qwen33")
    assert "'qwen3'" in caught.value.remedy


def test_unknown_name_far_from_all_lists_all(tools: Registry) -> None:
    tools.register(Component("saw", dict))
    with pytest.raises(RegistryError) as caught:
        tools.get("zzzzzz")
    assert caught.value.remedy == "known names: saw"


def test_not_installed_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_offered", {})
    monkeypatch.setattr(engines, "_registered", {})
    with pytest.raises(RegistryError, match="engine 'transformers' is not installed") as caught:
        engines.get("transformers")
    assert caught.value.remedy == "pip install swift-infer brings it"


def test_same_key_with_another_type(tools: Registry) -> None:
    tools.register(Component("saw", dict, WholeConfig))
    with pytest.raises(
        RegistryError, match="tools 'saw' and 'file' claim the key 'rank' differently"
    ) as caught:
        tools.register(Component("file", dict, BrokenRankConfig))
    assert "one type" in caught.value.remedy
    assert "file" not in tools, "a refused component leaves nothing behind"


def test_same_key_with_the_same_type(tools: Registry) -> None:
    tools.register(Component("saw", dict, WholeConfig))
    tools.register(Component("jigsaw", dict, WholeConfig))
    assert tools.names() == ["jigsaw", "saw"]


def test_implementation_is_imported_when_it_is_built(tools: Registry) -> None:
    sys.modules.pop("this", None)
    tools.register(Component("zen", "this:d"))
    assert tools.get("zen").name == "zen"
    assert "this" not in sys.modules
    assert isinstance(tools.get("zen").load(), dict)
    assert "this" in sys.modules


@pytest.mark.parametrize("target", ["no_such_module:thing", "json:no_such_attribute"])
def test_component_that_points_nowhere(tools: Registry, target: str) -> None:
    tools.register(Component("saw", target))
    with pytest.raises(RegistryError, match=r"component 'saw' points at .* cannot be loaded"):
        tools.build("saw")


def test_entry_point_to_a_plain_callable(tools: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("counter", "collections:Counter"))
    assert "counter" in tools
    assert tools.build("counter", "aab") == {"a": 2, "b": 1}


def test_entry_point_that_cannot_be_loaded(tools: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("counter", "collections:NoSuchCounter"), ("saw", "no_such_module:saw"))
    for name in ("counter", "saw"):
        with pytest.raises(
            RegistryError, match=rf"tool '{name}' is offered as .* cannot be loaded"
        ) as caught:
            tools.get(name)
        assert "reinstall" in caught.value.remedy


def test_one_name_from_two_packages(tools: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("counter", "collections:Counter"), ("counter", "collections:OrderedDict"))
    with pytest.raises(RegistryError, match="tool 'counter' is offered twice"):
        tools.names()


def test_every_registry_has_its_own_kind_and_group() -> None:
    assert all(kind == registry.kind for kind, registry in REGISTRIES.items())
    assert len({registry.group for registry in REGISTRIES.values()}) == len(REGISTRIES)
