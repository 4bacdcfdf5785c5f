"""Every implementation of pack gives exactly best-fit decreasing."""

import logging
import threading
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swift.kernels import Implementation, Packing, _implementation, native_available, pack

IMPLEMENTATIONS: list[Implementation] = ["native", "reference"]
needs_native = pytest.mark.skipif(not native_available(), reason="swift.kernels._native is not built here")


@pytest.fixture(params=[pytest.param("native", marks=needs_native), "reference"])
def implementation(request: pytest.FixtureRequest) -> Implementation:
    return request.param  # type: ignore[no-any-return]


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """The definition, word for word; quadratic."""
    bins: list[list[int]] = []
    spaces: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = [b for b, space in enumerate(spaces) if space >= lengths[i]]
        if not fitting:
            bins.append([])
            spaces.append(capacity)
            fitting = [len(bins) - 1]
        best = min(fitting, key=lambda b: (spaces[b], b))
        bins[best].append(i)
        spaces[best] -= lengths[i]
    return bins


def as_lists(packing: Packing) -> list[list[int]]:
    return [indices.tolist() for indices in packing]


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], int]:
    # Small capacities make ties and full bins common; large ones take several digits in the radix sort.
    capacity = draw(st.one_of(st.integers(1, 12), st.integers(13, 5000), st.integers(5001, 2**31 - 1)))
    shortest = draw(st.integers(1, capacity))
    return draw(st.lists(st.integers(shortest, capacity), max_size=60)), capacity


@settings(max_examples=300, deadline=None)
@given(problems())
def test_every_implementation_is_best_fit_decreasing(problem: tuple[list[int], int]) -> None:
    lengths, capacity = problem
    expected = best_fit_decreasing(lengths, capacity)
    assert as_lists(pack(lengths, capacity, implementation="reference")) == expected
    if native_available():
        assert as_lists(pack(lengths, capacity, implementation="native")) == expected


@needs_native
@pytest.mark.parametrize("capacity", [64, 4096, 131072])
@pytest.mark.parametrize("n", [1, 1000, 30000])
def test_native_equals_reference_on_many_lengths(n: int, capacity: int) -> None:
    rng = np.random.default_rng(n + capacity)
    lengths = np.clip(rng.lognormal(np.log(200), 1.0, n), 1, capacity).astype(np.int64)
    native, reference = (pack(lengths, capacity, implementation=i) for i in IMPLEMENTATIONS)
    np.testing.assert_array_equal(native.order, reference.order)
    np.testing.assert_array_equal(native.offsets, reference.offsets)


@pytest.mark.parametrize(
    ("lengths", "capacity", "bins"),
    [
        pytest.param([], 8, [], id="empty"),
        pytest.param([8], 8, [[0]], id="one full bin"),
        pytest.param([1, 1, 1, 1, 1], 2, [[0, 1], [2, 3], [4]], id="equal lengths keep their order"),
        pytest.param([3, 5, 3, 5], 8, [[1, 0], [3, 2]], id="equally full bins: the one opened first"),
        pytest.param([2, 6, 5, 3], 8, [[1, 0], [2, 3]], id="longest first"),
        # The 2 goes to bin 1 (space 2) and not to bin 0 (space 3): fullest, not first.
        pytest.param([7, 8, 2], 10, [[1, 2], [0]], id="two bins"),
        pytest.param([6, 5, 4, 3, 2], 9, [[0, 3], [1, 2], [4]], id="best fit, not first fit"),
        pytest.param([4, 7, 1, 6, 2, 3], 10, [[1, 5], [3, 0], [4, 2]], id="mixed"),
        pytest.param([2**31 - 1, 1], 2**31 - 1, [[0], [1]], id="largest capacity"),
    ],
)
def test_golden(
    lengths: list[int], capacity: int, bins: list[list[int]], implementation: Implementation
) -> None:
    assert as_lists(pack(lengths, capacity, implementation=implementation)) == bins


def test_packing_is_a_partition_that_respects_the_capacity(implementation: Implementation) -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 5000)
    packing = pack(lengths, 512, implementation=implementation)
    assert sorted(packing.order.tolist()) == list(range(5000))
    assert packing.offsets[[0, -1]].tolist() == [0, 5000]
    assert all(a < b for a, b in pairwise(packing.offsets))
    assert max(lengths[indices].sum() for indices in packing) <= 512


def test_packing_figures_and_sequence_protocol(implementation: Implementation) -> None:
    packing = pack([6, 5, 4, 3, 2], 9, implementation=implementation)
    assert (packing.num_bins, len(packing), packing.num_tokens, packing.capacity) == (3, 3, 20, 9)
    assert packing.fill == pytest.approx(20 / 27)
    assert packing.order.dtype == packing.offsets.dtype == np.int64
    assert packing[-1].tolist() == [4]
    with pytest.raises(IndexError, match="bin 3 does not exist; this packing has 3 bins"):
        packing[3]


def test_no_sequences_make_no_bins(implementation: Implementation) -> None:
    packing = pack([], 4096, implementation=implementation)
    assert (packing.num_bins, packing.fill, packing.offsets.tolist()) == (0, 1.0, [0])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_any_integer_dtype_and_stride(dtype: str, implementation: Implementation) -> None:
    lengths = np.array([3, 99, 5, 99, 3, 99, 5, 99], dtype=dtype)[::2]
    assert as_lists(pack(lengths, 8, implementation=implementation)) == [[1, 0], [3, 2]]


def test_input_is_not_changed(implementation: Implementation) -> None:
    lengths = np.array([3, 5, 3])
    lengths.flags.writeable = False
    pack(lengths, 8, implementation=implementation)
    assert lengths.tolist() == [3, 5, 3]


@pytest.mark.parametrize(
    ("lengths", "capacity", "error", "message"),
    [
        ([1, 9, 10], 8, ValueError, r"lengths\[1\] is 9, .* at most the capacity 8; truncate .*2 of 3"),
        ([1, 0], 8, ValueError, r"lengths\[1\] is 0, every length must be at least 1; remove empty .*1 of 2"),
        ([-3], 8, ValueError, r"lengths\[0\] is -3"),
        (np.array([2**64 - 1], dtype=np.uint64), 8, ValueError, r"lengths\[0\] is 18446744073709551615"),
        ([1], 0, ValueError, r"capacity is 0, it must be in \[1, 2147483647\]"),
        ([], -1, ValueError, r"capacity is -1"),
        ([1], 2**31, ValueError, r"capacity is 2147483648"),
        ([1], 8.5, TypeError, r"capacity is 8.5, it must be an integer"),
        ([1.0, 2.0], 8, TypeError, r"dtype float64, it must hold integers"),
        ([True], 8, TypeError, r"dtype bool"),
        ([[1, 2]], 8, ValueError, r"shape \(1, 2\), it must be one-dimensional"),
        (iter([1, 2]), 8, ValueError, r"shape \(\), .* list\(\.\.\.\) of an iterator"),
    ],
)
def test_errors(
    lengths: Sequence[int],
    capacity: int,
    error: type[Exception],
    message: str,
    implementation: Implementation,
) -> None:
    with pytest.raises(error, match=message):
        pack(lengths, capacity, implementation=implementation)


def test_unknown_implementation() -> None:
    with pytest.raises(ValueError, match="'cuda', it must be one of 'auto', 'native', 'reference'"):
        pack([1], 8, implementation="cuda")  # type: ignore[arg-type]


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_implementation, "_load", lambda: ImportError("no module in this test"))


@pytest.fixture
def fresh_choice() -> None:
    _implementation._choose.cache_clear()


@pytest.mark.usefixtures("without_native")
def test_native_is_never_replaced_silently() -> None:
    assert not native_available()
    with pytest.raises(RuntimeError, match=r"is 'native', .* \(no module in this test\); reinstall"):
        pack([1], 8, implementation="native")


@pytest.mark.usefixtures("without_native", "fresh_choice")
def test_auto_falls_back_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "swift.kernels"):
        assert as_lists(pack([3, 5], 8)) == as_lists(pack([3, 5], 8)) == [[1, 0]]
    assert [r.getMessage() for r in caplog.records] == [
        "pack: Python reference (slow), the compiled module cannot be imported: no module in this test"
    ]
    _implementation._choose.cache_clear()


@needs_native
@pytest.mark.usefixtures("fresh_choice")
def test_auto_takes_native_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "swift.kernels"):
        pack([3, 5], 8)
        pack([3, 5], 8)
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith("pack: native (")


def longest_pause_beside(worker: threading.Thread) -> float:
    """The longest time this thread stood still while `worker` ran, as a share of the whole run."""
    pauses = []
    started = last = time.perf_counter()
    worker.start()
    while worker.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        pauses.append(now - last)
        last = now
    return max(pauses) / (last - started)


@needs_native
def test_native_releases_the_gil() -> None:
    from swift.kernels import _native

    lengths = np.random.default_rng(0).integers(1, 4097, 1_000_000)
    # With the GIL held, one pause is nearly the whole call. Several tries: a busy machine pauses threads too.
    assert any(
        longest_pause_beside(threading.Thread(target=_native.pack, args=(lengths, 4096))) < 0.5
        for _ in range(5)
    )


@needs_native
def test_a_million_lengths_are_packed_99_percent_full_in_a_second() -> None:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(200), 1.0, 1_000_000), 1, 4096).astype(np.int64)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        packing = pack(lengths, 4096, implementation="native")
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1.0
    assert packing.fill >= 0.99
