"""A compiler that is confined to its sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from swift.plugin.sandbox.confine import confined_command

SOURCE = """
__asm__(".globl stolen\\nstolen:\\n.incbin \\"SECRET\\"");
extern "C" const char *answer() { return "42"; }
"""


def compile_confined(folder: Path, source: str, tmp: Path) -> subprocess.CompletedProcess[str]:
    (folder / "source.cpp").write_text(source)
    command = ["g++", "-shared", "-fPIC", str(folder / "source.cpp"), "-o", str(tmp / "built.so")]
    return subprocess.run(
        confined_command(command, read=[folder], write=[tmp]),
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    made = [tmp_path / name for name in ("source", "build", "private")]
    for folder in made:
        folder.mkdir()
    (made[2] / "secret.txt").write_text("the secret")
    return made[0], made[1], made[2]


def test_sources_compile(folders: tuple[Path, Path, Path]) -> None:
    source, build, _ = folders
    done = compile_confined(source, "#include <vector>\nint answer() { return 42; }", build)
    assert done.returncode == 0, done.stderr
    assert (build / "built.so").stat().st_size > 0


def test_secrets_cannot_be_included(folders: tuple[Path, Path, Path]) -> None:
    source, build, private = folders
    stealing = SOURCE.replace("SECRET", str(private / "secret.txt"))
    assert compile_confined(source, stealing, build).returncode != 0
    assert not (build / "built.so").exists()
    subprocess.run(
        ["g++", "-shared", "-fPIC", str(source / "source.cpp"), "-o", str(build / "built.so")], check=True
    )
    assert b"the secret" in (build / "built.so").read_bytes()  # without confinement it works


def test_only_the_named_folders_are_written(folders: tuple[Path, Path, Path]) -> None:
    source, build, private = folders
    for folder, status in ((source, 1), (private, 1), (build, 0)):
        done = subprocess.run(confined_command(["touch", str(folder / "x")], read=[source], write=[build]))
        assert done.returncode == status
        assert (folder / "x").exists() == (status == 0)
    missing = subprocess.run(confined_command(["no-such-command"]), capture_output=True, text=True)
    assert missing.returncode == 127
    assert "no-such-command" in missing.stderr
