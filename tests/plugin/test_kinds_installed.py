"""Parts that installed packages offer by entry points: found by name, without a `plugins:` section."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from swift.core.commands.plugin.list import command as list_command
from swift.core.config.run import load_run
from swift.core.errors import RegistryError
from swift.core.registry import REGISTRIES, Component, Registry
from swift.core.train.launch import train
from swift.plugin.parts import build_part

CODE = """
import torch

from swift.core.registry import Component
from swift.plugin import register_loss


@register_loss("scaled_error", note="of the package")
class ScaledError(torch.nn.Module):
    '''Cross entropy times a factor.'''

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, inputs, targets):
        return self.factor * torch.nn.functional.cross_entropy(inputs, targets)


class PlainError(ScaledError):
    '''Offered as it is, without a decorator.'''


def vowels(prompts, completions, **columns):
    return [float(sum(letter in "aeiou" for letter in text)) for text in completions]


described = Component("described_vowels", "acme_parts.parts:vowels", summary="counts vowels")
misnamed = Component("other_name", "acme_parts.parts:vowels")
number = 7
"""

ENTRY_POINTS = """
[swift.losses]
scaled_error = acme_parts.parts:ScaledError
plain_error = acme_parts.parts:PlainError
broken_error = acme_parts.broken:BrokenError

[swift.rewards]
vowels = acme_parts.parts:vowels
described_vowels = acme_parts.parts:described
misnamed = acme_parts.parts:misnamed
number = acme_parts.parts:number
absent = acme_parts.parts:absent
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package acme-parts, laid out as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    package, info = folder / "acme_parts", folder / "acme_parts-1.2.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text(CODE)
    (package / "broken.py").write_text("import torch\n\nsize = 1 / 0\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-parts\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package on this process's path, with registries that have not looked yet."""
    monkeypatch.syspath_prepend(site)
    kept = [(REGISTRIES[kind], dict(vars(REGISTRIES[kind]))) for kind in ("loss", "reward")]
    for registry, _ in kept:
        vars(registry).update(_registered={}, _from_packages={})
        vars(registry).pop("_offered", None)
    yield
    for registry, state in kept:
        vars(registry).clear()
        vars(registry).update(state)
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_parts"]:
        del sys.modules[name]


@pytest.mark.usefixtures("installed")
def test_names_resolve_to_what_the_entry_points_name() -> None:
    import torch

    losses, rewards = REGISTRIES["loss"], REGISTRIES["reward"]
    assert {"scaled_error", "plain_error"} <= set(losses.names())
    assert "acme_parts" not in sys.modules, "names are known before anything is imported"
    inputs, targets = torch.randn(3, 5), torch.tensor([0, 1, 2])
    expected = torch.nn.functional.cross_entropy(inputs, targets)
    for name in ("scaled_error", "plain_error"):
        loss = build_part(losses, name, {"factor": 2.0})
        assert torch.equal(loss(inputs, targets), 2.0 * expected)
    for name in ("vowels", "described_vowels"):
        assert build_part(rewards, name, {})([], ["abc", "aei"]) == [1.0, 3.0]
    decorated = losses.get("scaled_error")
    assert dict(decorated.attributes) == {"note": "of the package"}, "the decorator's facts are kept"
    assert decorated.summary == "Cross entropy times a factor."
    assert losses.get("plain_error").summary == "Offered as it is, without a decorator."
    assert losses.distribution("scaled_error") == "acme-parts"


@pytest.mark.usefixtures("installed")
def test_what_was_loaded_survives_a_plugin_that_fails() -> None:
    losses = REGISTRIES["loss"]
    before = losses.registered()
    component = losses.get("scaled_error")
    losses.restore(before)  # as a failed transaction does
    assert losses.get("scaled_error") is component


@pytest.mark.usefixtures("installed")
def test_a_plugin_cannot_take_a_package_s_name() -> None:
    def mine() -> None: ...

    with pytest.raises(
        RegistryError, match=r"loss 'scaled_error' is registered twice: acme-parts and mine.py:3"
    ):
        REGISTRIES["loss"].register(Component("scaled_error", mine, place="mine.py:3"))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("loss", "broken_error", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("reward", "absent", "cannot be loaded: AttributeError"),
        ("reward", "number", "which is a int"),
        ("reward", "misnamed", "which calls itself 'other_name'"),
    ],
)
def test_a_broken_offer_names_its_package(kind: str, name: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message) as error:
        REGISTRIES[kind].get(name)
    assert f"{kind} {name!r} is offered as 'acme_parts." in error.value.problem
    assert "by the package 'acme-parts'" in error.value.problem
    assert error.value.remedy


def test_two_packages_with_one_name_are_both_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = site / "twin"
    info = twin / "twin_parts-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: twin-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[swift.rewards]\nvowels = twin_parts:vowels\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.syspath_prepend(twin)
    with pytest.raises(RegistryError, match="reward 'vowels' is offered twice") as error:
        Registry("reward", "swift.rewards").names()
    assert "'acme-parts'" in error.value.problem
    assert "'twin-parts'" in error.value.problem


@pytest.mark.usefixtures("installed")
def test_a_run_uses_an_installed_loss_without_plugins(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Hello?", "response": "Hello."}) + "\n")
    losses = []
    for name in ("cross_entropy", "scaled_error"):
        words = [
            f"data.dataset_name={rows}", "data.max_length=64", "train.max_steps=1", f"train.loss_type={name}",
            f"train.output_dir={tmp_path / name}",
        ]  # fmt: skip
        config = ["train.loss_config={factor: 3.0}"] if name == "scaled_error" else []
        assert train(load_run(None, [*words, *config])) == 0
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses.append(json.loads(lines[0])["loss"])
    assert losses[1] == pytest.approx(3.0 * losses[0], rel=1e-5)


@pytest.mark.usefixtures("installed")
def test_the_list_names_the_package() -> None:
    result = CliRunner().invoke(list_command, ["--kind", "loss", "--json"], catch_exceptions=False)
    packages = {line["name"]: line["package"] for line in json.loads(result.output)}
    assert packages["scaled_error"] == packages["broken_error"] == "acme-parts"
