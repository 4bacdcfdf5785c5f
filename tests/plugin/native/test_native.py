"""Native modules load under fresh names, beside their older versions, and never in the place of others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from swift.core.errors import PluginError
from swift.core.registry import losses
from swift.plugin.build import build_module
from swift.plugin.build.toolchain import find_toolchain
from swift.plugin.native import load_native, provide

HERE = Path(__file__).parent


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    (tmp_path / "start.h").write_text("#define START 1\n")
    shutil.copy(HERE / "counter.cpp", tmp_path)
    return tmp_path / "counter.cpp"


@pytest.fixture(scope="session")
def foreign_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The counter as another build system makes it: bound in the table that all modules share."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "start.h").write_text("#define START 1\n")
    source = Path(shutil.copy(HERE / "counter.cpp", folder))
    chain = find_toolchain([source])
    steps = [
        chain.compile_command(source, folder / "counter.o", "counter", "0" * 8),
        chain.link_command([folder / "counter.o"], folder / "counter.so"),
    ]
    for step in steps:
        subprocess.run(
            [word for word in step if not word.startswith("-DPYBIND11_INTERNALS_VERSION")], check=True
        )
    return folder / "counter.so"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    before = losses.registered()
    yield
    losses.restore(before)


def test_a_class_that_changed_is_loaded_beside_the_older_one(counter: Path, build_root: Path) -> None:
    first = load_native(counter, build_root=build_root)
    older = first.Counter()
    assert older.next() == 1
    counter.with_name("start.h").write_text("#define START 100\n")
    second = load_native(counter, build_root=build_root)
    assert second.__name__ != first.__name__
    assert second.Counter().next() == 100
    assert (older.next(), first.Counter().next()) == (2, 1), "the older version lives on"
    counter.with_name("start.h").write_text("#define START 1\n")
    assert load_native(counter, build_root=build_root) is first, "a change that is taken back"


def test_tensors_and_torch_errors_pass_through(compiled: Path) -> None:
    module = load_native(HERE / "optimizers.cpp", build_root=compiled)
    inputs = torch.tensor([1.0, 3.0], requires_grad=True)
    module.squared(inputs, torch.zeros(2)).backward()
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [1.0, 3.0]
    with pytest.raises(RuntimeError) as raised:
        module.fail()
    assert str(raised.value) == "lr must be positive", "without the frames of the C++ stack"


def test_cpp_code_registers_components_itself(compiled: Path) -> None:
    module = load_native(HERE / "optimizers.cpp", build_root=compiled)
    component = losses.get("native_squared")
    assert component.load()(torch.tensor([2.0]), torch.tensor([0.0])).item() == 4.0
    losses.unregister("native_squared")
    assert load_native(HERE / "optimizers.cpp", build_root=compiled) is module
    assert "native_squared" in losses, "loading it again registers it again"


def test_python_code_imports_what_is_provided(compiled: Path, counter: Path, build_root: Path) -> None:
    path = list(sys.path)
    first, second = (load_native(file, build_root=build_root) for file in (HERE / "optimizers.cpp", counter))
    try:
        provide("swift_test_native", first)
        import swift_test_native  # type: ignore[import-not-found]

        assert swift_test_native is first
        provide("swift_test_native", second)
        assert sys.modules["swift_test_native"] is second
    finally:
        del sys.modules["swift_test_native"]
    assert sys.path == path


@pytest.mark.parametrize("name", ["json", "colorsys", "torch", "yaml"])
def test_other_modules_are_never_shadowed(name: str, counter: Path, build_root: Path) -> None:
    module = load_native(counter, build_root=build_root)
    before = sys.modules.get(name)
    with pytest.raises(PluginError, match=f"{name}.* would shadow"):
        provide(name, module)
    assert sys.modules.get(name) is before


def test_a_built_module_may_be_overwritten_while_it_is_used(
    counter: Path, build_root: Path, tmp_path: Path
) -> None:
    library = tmp_path / "counter.so"
    shutil.copy(build_module([counter], module_name="counter", build_root=build_root), library)
    module = load_native(library, build_root=tmp_path / "copies")
    library.write_bytes(b"\0" * library.stat().st_size)
    assert module.Counter().next() == 1


def test_a_foreign_build_that_cannot_be_loaded_twice_says_why(foreign_library: Path, tmp_path: Path) -> None:
    assert load_native(foreign_library, build_root=tmp_path).Counter().next() == 1
    changed = tmp_path / "new" / foreign_library.name
    changed.parent.mkdir()
    changed.write_bytes(foreign_library.read_bytes() + b"\0")
    with pytest.raises(PluginError, match="already registered") as raised:
        load_native(changed, build_root=tmp_path)
    assert "swift plugin build" in raised.value.remedy
    assert "module_local" in raised.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "problem", "remedy"),
    [
        ("none.cpp", "int x;", "defines no Python module", "PYBIND11_MODULE"),
        ("garbage.so", "no library", "cannot be loaded", "swift plugin build"),
        ("two-words.so", "no library", "no Python identifier", "rename"),
    ],
)
def test_what_is_no_module_is_refused(
    name: str, content: str, problem: str, remedy: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(PluginError, match=problem) as raised:
        load_native(tmp_path / name, build_root=tmp_path / "cache")
    assert remedy in raised.value.remedy


def test_a_file_that_is_called_differently_from_its_module_is_refused(
    foreign_library: Path, tmp_path: Path
) -> None:
    renamed = Path(shutil.copy(foreign_library, tmp_path / "other.so"))
    with pytest.raises(PluginError, match="PyInit_other") as raised:
        load_native(renamed, build_root=tmp_path)
    assert "agree" in raised.value.remedy
