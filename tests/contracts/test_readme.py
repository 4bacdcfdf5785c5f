"""What README.md shows is true: its Python runs, its commands and paths exist."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from swift.tuners import cli as tuners_cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        ended = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr


def test_test_command_of_the_readme_is_what_ci_runs() -> None:
    assert "\n    uv run pytest\n" in README
    assert 'step "tests" uv run pytest\n' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_exist(page: Path) -> None:
    named = re.findall(r"(?:`|uv run )(swift(?:-[a-z]+)?) ([a-z][a-z-]+)", page.read_text(encoding="utf-8"))
    assert [each for each in named if each[1] not in commands_of(each[0])] == []


def commands_of(executable: str) -> set[str]:
    """What `swift` offers, and what a package's own executable adds to it."""
    names = {entry.name for entry in entry_points(group="swift.commands")}
    return names | (set(tuners_cli.group().entries) if executable == "swift-tuners" else set())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_path_of_the_table_exists() -> None:
    page = (ROOT / "docs" / "where-things-live.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    paths = [path for row in rows for path in re.findall(r"`([^`]+)`", row)]
    assert len(paths) > 50
    assert [path for path in paths if not located(path).exists()] == []


def located(path: str) -> Path:
    """A path as the table writes it, from the root of the repository."""
    head, _, rest = path.partition("/")
    if head in ("CORE", "PLUGIN"):
        return ROOT / "packages" / "swift-core" / "src" / "swift" / head.lower() / rest
    package = ROOT / "packages" / f"swift-{head}" / "src" / "swift" / head
    return package / rest if package.is_dir() else ROOT / path
