"""Modules are compiled once, errors read like errors, and builds at the same time do not clash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from swift.core.commands.plugin.build import command
from swift.core.errors import PluginError, SandboxError
from swift.plugin.build import build_folder, build_module, module_name
from swift.plugin.build.diagnose import first_errors
from swift.plugin.build.sources import local_headers
from swift.plugin.build.toolchain import find_compiler
from swift.plugin.sandbox.landlock import require_landlock

# Enough for a build, and compiled in a blink: the mechanics do not depend on what the source does.
PLAIN = '#include "value.h"\nextern "C" int value() { return VALUE; }\n'


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    (tmp_path / "value.h").write_text("#define VALUE 1\n")
    source = tmp_path / "plain.cpp"
    source.write_text(PLAIN)
    return source


@pytest.fixture
def counted_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that writes a line for each of its runs."""
    runs = tmp_path / "runs"
    runs.touch()
    script = tmp_path / "cxx"
    note = f'case "$*" in *" -c "*) echo run >> {runs}; sleep 0.2;; esac'
    script.write_text(f'#!/bin/sh\n{note}\nexec {find_compiler()[0]} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    return runs


def test_an_unchanged_source_is_compiled_once(plain: Path, tmp_path: Path, counted_compiler: Path) -> None:
    root = tmp_path / "cache"
    first = build_module([plain], module_name="plain", build_root=root)
    again = build_module([plain], module_name="plain", build_root=root)
    assert first == again
    assert first.name == "plain.so"
    assert counted_compiler.read_text() == "run\n"
    assert sorted(path.name for path in first.parent.iterdir()) == ["plain.so"], "nothing else stays"


@pytest.mark.parametrize("changed", ["plain.cpp", "value.h"])
def test_a_change_is_compiled(plain: Path, tmp_path: Path, counted_compiler: Path, changed: str) -> None:
    root = tmp_path / "cache"
    first = build_module([plain], module_name="plain", build_root=root)
    file = plain.with_name(changed)
    file.write_text(file.read_text() + "// changed\n")
    assert build_module([plain], module_name="plain", build_root=root) != first
    assert counted_compiler.read_text() == "run\nrun\n"


def test_processes_that_build_the_same_at_once_compile_it_once(
    plain: Path, tmp_path: Path, counted_compiler: Path
) -> None:
    root = tmp_path / "cache"
    code = (
        "from pathlib import Path; from swift.plugin.build import build_module; "
        f"print(build_module([Path({str(plain)!r})], module_name='plain', build_root=Path({str(root)!r})))"
    )
    builds = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    printed = {build.communicate(timeout=60)[0] for build in builds}
    assert len(printed) == 1
    assert all(build.returncode == 0 for build in builds)
    assert counted_compiler.read_text() == "run\n"


def test_a_compiler_error_names_file_and_line(plain: Path, tmp_path: Path) -> None:
    plain.write_text('extern "C" int value() {\n  return missing;\n}\n')
    with pytest.raises(PluginError, match=r"plain\.cpp:2:10: error: .*missing") as raised:
        build_module([plain], module_name="plain", build_root=tmp_path / "cache")
    assert "return missing;" in raised.value.problem
    assert "correct the source" in raised.value.remedy
    assert not list((tmp_path / "cache").glob("plain-*")), "a failed build leaves nothing behind"


def test_only_the_first_errors_are_shown() -> None:
    output = "".join(f"a.cpp:{line}:1: error: bad\n   {line} | x\n     | ^\n" for line in range(1, 9))
    shown = first_errors(output)
    assert "a.cpp:3:1: error" in shown
    assert "a.cpp:4:1: error" not in shown
    assert "5 more errors" in shown


def test_a_missing_compiler_is_said(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(PluginError, match="no C\\+\\+ compiler") as raised:
        build_module([plain], module_name="plain", build_root=tmp_path / "cache")
    assert "install g++" in raised.value.remedy


def test_cuda_without_its_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "kernel.cu"
    source.write_text(PLAIN)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(PluginError, match="is CUDA code") as raised:
        build_module([source], module_name="kernel", build_root=tmp_path / "cache")
    assert "CUDA" in raised.value.remedy


def test_the_cache_has_to_be_writable(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PluginError, match="cannot be kept") as raised:
        build_module([plain], module_name="plain", build_root=tmp_path / "file/cache")
    assert "SWIFT_PLUGIN_CACHE" in raised.value.remedy


def test_the_module_is_called_after_its_file_or_literally(tmp_path: Path) -> None:
    source = tmp_path / "mine.cpp"
    source.write_text('auto url = "http://x"; PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {}')
    assert module_name(source) == "mine"
    source.write_text(
        "// PYBIND11_MODULE(not_this, m)\n/* nor\nPYBIND11_MODULE(this, m) */ PYBIND11_MODULE(yours , m) {}"
    )
    assert module_name(source) == "yours"
    source.write_text("int x;")
    assert module_name(source) is None


def test_headers_are_followed_through_headers(tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text('#include "b.h"\n#include <vector>\n')
    (tmp_path / "b.h").write_text('#pragma once\n#include "a.h"\n')
    source = tmp_path / "a.cpp"
    source.write_text('#include "a.h"\n')
    assert [path.name for path in local_headers([source])] == ["a.h", "b.h"]


def test_a_folder_is_built_with_its_shared_sources(tmp_path: Path, build_root: Path) -> None:
    (tmp_path / "helper.cpp").write_text("int helper() { return 41; }\n")
    (tmp_path / "answers.cpp").write_text(
        "#include <pybind11/pybind11.h>\nint helper();\n"
        'PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("answer", [] { return helper() + 1; }); }\n'
    )
    result = CliRunner().invoke(command, [str(tmp_path), "--cache", str(build_root)])
    assert result.exception is None, result.output
    assert f"  - {tmp_path / 'answers.so'}" in result.stdout
    assert "import answers" in result.stdout
    code = "import answers; print(answers.answer())"  # torch's libraries come with torch
    ran = subprocess.run(
        [sys.executable, "-c", f"import torch; {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "42\n", ran.stderr


def test_a_folder_without_a_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "helper.cpp").write_text("int helper() { return 41; }\n")
    with pytest.raises(PluginError, match="defines a Python module"):
        build_folder(tmp_path, build_root=tmp_path)


def test_two_modules_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.cpp").write_text("PYBIND11_MODULE(same, m) {}")
    with pytest.raises(PluginError, match="both define the module 'same'"):
        build_folder(tmp_path, build_root=tmp_path)


@pytest.mark.parametrize("word", ["#include", ".incbin"])
def test_a_confined_compiler_reads_no_secrets(plain: Path, tmp_path: Path, word: str) -> None:
    require_kernel()
    secret = tmp_path / "elsewhere/secret"
    secret.parent.mkdir()
    secret.write_text("int secret_token = 1;\n")
    source = tmp_path / "own/thief.cpp"
    source.parent.mkdir()
    line = f'#include "{secret}"' if word == "#include" else f'asm(".incbin \\"{secret}\\"");'
    source.write_text(f'{line}\nextern "C" int value() {{ return 1; }}\n')
    with pytest.raises(PluginError, match="secret") as raised:
        build_module([source], module_name="thief", build_root=tmp_path / "cache", confined=True)
    assert "secret_token" not in str(raised.value)
    assert build_module([source], module_name="thief", build_root=tmp_path / "cache").is_file(), (
        "else it would"
    )
    assert build_module([plain], module_name="plain", build_root=tmp_path / "cache", confined=True).is_file()


def require_kernel() -> None:
    try:
        require_landlock()
    except SandboxError as error:
        pytest.skip(str(error))
