"""The workspace: what every package has, and how the packages bind each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path for path in (ROOT / "packages").iterdir() if (path / "pyproject.toml").exists())
NAMES = [path.name for path in PACKAGES]
SIBLING = re.compile(r"(swift-[a-z]+)(?:\[[^]]*\])?(.*)")


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))


def modules(package: Path) -> list[Path]:
    """Folders of the package's top modules."""
    return sorted(path for path in (package / "src" / "swift").iterdir() if (path / "__init__.py").exists())


def sibling_bounds(path: Path) -> dict[str, str]:
    found = (SIBLING.fullmatch(text.replace(" ", "")) for text in toml(path)["project"]["dependencies"])
    return {match[1]: match[2] for match in found if match}


def test_seven_packages() -> None:
    expected = {"core", "infer", "kernels", "mm", "parallel", "rlhf", "tuners"}
    assert {name.removeprefix("swift-") for name in NAMES} == expected


def test_no_package_claims_the_namespace() -> None:
    """A swift/__init__.py in one distribution would hide the modules of every other."""
    tracked = [path for package in PACKAGES for path in (package / "src").rglob("swift/__init__.py")]
    assert [path for path in tracked if path.parent.parent.name == "src"] == []


@pytest.mark.parametrize("package", PACKAGES, ids=NAMES)
def test_files_of_a_package(package: Path) -> None:
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        assert (package / name).stat().st_size > 0, name
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert modules(package)
    for module in modules(package):
        assert (module / "py.typed").exists(), f"{module} has no py.typed"


@pytest.mark.parametrize("package", PACKAGES, ids=NAMES)
def test_metadata(package: Path) -> None:
    project = toml(package)["project"]
    assert project["name"] == package.name
    assert project["license"] == "Apache-2.0"
    assert project["requires-python"] == ">=3.11"
    assert project["description"]
    assert f"## {project['version']}" in (package / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PACKAGES, ids=NAMES)
def test_arrows_between_distributions(package: Path) -> None:
    allowed = {"swift-core": {"swift-kernels"}, "swift-kernels": set[str]()}
    assert set(sibling_bounds(package)) <= allowed.get(package.name, {"swift-core", "swift-kernels"})


@pytest.mark.parametrize("path", [ROOT, *PACKAGES], ids=["root", *NAMES])
def test_sibling_bounds_hold_the_siblings_minor_version(path: Path) -> None:
    versions = {package.name: toml(package)["project"]["version"] for package in PACKAGES}
    for name, bound in sibling_bounds(path).items():
        major, minor = map(int, versions[name].split(".")[:2])
        assert bound == f">={major}.{minor},<{major}.{minor + 1}", f"{name} is {versions[name]}"


def test_root_is_metadata_that_brings_every_package() -> None:
    root = toml(ROOT)
    assert set(sibling_bounds(ROOT)) == set(NAMES)
    assert root["tool"]["hatch"]["build"]["targets"]["wheel"] == {"bypass-selection": True}
    assert not (ROOT / "src").exists()
    assert set(root["tool"]["uv"]["sources"]) == set(NAMES)


def test_import_contract_knows_every_module() -> None:
    found = {f"swift.{module.name}" for package in PACKAGES for module in modules(package)}
    linter = toml(ROOT)["tool"]["importlinter"]
    layers = re.split(r"\s[|:]\s", " | ".join(linter["contracts"][0]["layers"]))
    assert set(linter["root_packages"]) == found
    assert set(layers) == found
