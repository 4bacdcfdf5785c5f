"""The compiled module: what it registers, and what it does with input that the typed functions refuse."""

import ast
import gc
import inspect
from pathlib import Path

import numpy as np
import pytest

import swift.kernels

native = pytest.importorskip("swift.kernels._native", reason="swift.kernels._native is not built here")


def test_the_stub_names_what_the_module_registers() -> None:
    stub = Path(inspect.getfile(swift.kernels)).with_name("_native.pyi")
    declared = {node.name for node in ast.parse(stub.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert declared == {name for name in dir(native) if not name.startswith("_")}


def test_public_surface() -> None:
    assert sorted(swift.kernels.__all__) == [
        "Implementation",
        "Packing",
        "linear_cross_entropy",
        "linear_cross_entropy_and_entropy",
        "native_available",
        "pack",
        "paged_attention",
        "skinny_linear",
    ]


@pytest.mark.parametrize(("lengths", "capacity"), [([0], 8), ([-1], 8), ([9], 8), ([1], 0), ([1], 2**31)])
def test_pack_refuses_out_of_range_values(lengths: list[int], capacity: int) -> None:
    with pytest.raises(ValueError, match="must be in"):
        native.pack(np.array(lengths, dtype=np.int64), capacity)


@pytest.mark.parametrize(
    "lengths", [[1], np.ones(1, np.int32), np.ones((1, 1), np.int64), np.ones(4, np.int64)[::2]]
)
def test_pack_converts_nothing(lengths: object) -> None:
    with pytest.raises(TypeError):
        native.pack(lengths, 8)


def test_pack_results_own_their_memory() -> None:
    order, offsets = native.pack(np.arange(1, 1001), 1000)
    view = order[10:20]
    expected = view.tolist()
    del order, offsets
    gc.collect()
    assert view.tolist() == expected
