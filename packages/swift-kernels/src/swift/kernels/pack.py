"""Packing sequences of unequal lengths into bins of one capacity: training batches with almost no padding."""

import operator
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

from swift.kernels._implementation import Implementation, use_native

MAX_CAPACITY = 2**31 - 1
"""Sums of lengths then fit into 64 bits for any number of sequences that fits into memory."""

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """Which sequences share a bin, in compressed rows: bin `b` holds `order[offsets[b] : offsets[b + 1]]`.

    `len(packing)`, `packing[b]` and iteration give one index array a bin (views, nothing is copied).
    """

    order: Int64Array
    """`[n]`: each sequence index once, grouped by bin; within a bin in order of placement, longest first."""
    offsets: Int64Array
    """`[num_bins + 1]`: where each bin starts in `order`; the last entry is `n`."""
    capacity: int
    """Tokens that one bin can hold."""
    num_tokens: int
    """Sum of all lengths."""

    @property
    def num_bins(self) -> int:
        return len(self.offsets) - 1

    @property
    def fill(self) -> float:
        r"""Share of the slots that hold a token, `num_tokens / (num_bins * capacity)`; 1.0 without bins."""
        return self.num_tokens / (self.num_bins * self.capacity) if self.num_bins else 1.0

    def __len__(self) -> int:
        return self.num_bins

    def __getitem__(self, bin_index: int) -> Int64Array:
        if not -self.num_bins <= bin_index < self.num_bins:
            raise IndexError(f"bin {bin_index} does not exist; this packing has {self.num_bins} bins")
        bin_index %= self.num_bins
        return self.order[self.offsets[bin_index] : self.offsets[bin_index + 1]]

    def __iter__(self) -> Iterator[Int64Array]:
        return (self[b] for b in range(self.num_bins))


def pack(
    lengths: npt.NDArray[np.integer] | Sequence[int],
    capacity: int,
    *,
    implementation: Implementation = "auto",
) -> Packing:
    r"""Assign sequences to as few bins as best-fit decreasing finds; no sequence is split or dropped.

    Sequences are placed by decreasing length $l_i$ (equal lengths: lowest index first), each into the bin

    $$ b^* = \arg\min_b \{\, s_b : s_b \ge l_i \,\}, \qquad s_b = C - \sum_{j \in b} l_j $$

    with the least space left that still takes it (equal space: the bin opened first), or into a new bin if
    there is none. Bins are numbered in the order in which they are opened. The result is a function of
    `lengths` and `capacity` alone: no randomness, the same on every platform and from both implementations.

    Never more than 11/9 of the optimal number of bins plus a constant (Johnson), and nearly full bins on the
    lengths of real corpora, where many short sequences fill what the long ones leave. The native code takes
    time $O(n \log B)$ and memory $O(n)$ for $n$ sequences in $B$ bins, whatever the capacity, and releases
    the GIL.

    Args:
        lengths: `[n]` tokens in each sequence, an integer array or a sequence of integers, each in
            `[1, capacity]`.
        capacity: tokens that one bin can hold, in `[1, 2**31 - 1]`.
        implementation: `auto` (native where it is installed, logged once), `native`, or `reference`.

    Returns:
        The bins; none for empty `lengths`.

    Raises:
        ValueError: a length or `capacity` is out of range, `lengths` is not one-dimensional, or
            `implementation` is unknown.
        TypeError: `lengths` or `capacity` are not integers.
        RuntimeError: `implementation="native"` where the compiled module is missing.

    References:
        D. S. Johnson, "Near-optimal bin packing algorithms", PhD thesis, MIT, 1973; D. S. Johnson et al.,
        "Worst-case performance bounds for simple one-dimensional packing algorithms", SIAM J. Comput. 3(4),
        1974. For language models: Krell et al., "Efficient Sequence Packing without Cross-contamination",
        arXiv:2107.02027; Ding et al., "Fewer Truncations Improve Language Modeling", arXiv:2404.10830.
    """
    capacity = _checked_capacity(capacity)
    array = _checked_lengths(lengths, capacity)
    if use_native("pack", implementation):
        from swift.kernels import _native

        order, offsets = _native.pack(array, capacity)
    else:
        order, offsets = _pack_reference(array, capacity)
    return Packing(order, offsets, capacity, int(array.sum()))


def _checked_capacity(capacity: int) -> int:
    try:
        value = operator.index(capacity)
    except TypeError:
        raise TypeError(
            f"capacity is {capacity!r}, it must be an integer number of tokens; pass int(...)"
        ) from None
    if not 1 <= value <= MAX_CAPACITY:
        raise ValueError(
            f"capacity is {value}, it must be in [1, {MAX_CAPACITY}] tokens; "
            "pass the maximum sequence length of training"
        )
    return value


def _checked_lengths(lengths: npt.NDArray[np.integer] | Sequence[int], capacity: int) -> Int64Array:
    array = np.asarray(lengths)
    if array.ndim != 1:
        raise ValueError(
            f"lengths has shape {array.shape}, it must be one-dimensional with one length for each sequence; "
            "pass list(...) of an iterator, or .ravel() of an array"
        )
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"lengths has dtype {array.dtype}, it must hold integers (tokens); convert with .astype(int)"
        )
    _raise_on_first(array < 1, array, "must be at least 1", "remove empty sequences before packing")
    _raise_on_first(
        array > capacity,
        array,
        f"must be at most the capacity {capacity}",
        "truncate or split long sequences, or raise the capacity",
    )
    return np.ascontiguousarray(array, dtype=np.int64)


def _raise_on_first(
    wrong: npt.NDArray[np.bool_], array: npt.NDArray[np.integer], rule: str, remedy: str
) -> None:
    if wrong.any():
        first = int(wrong.argmax())
        raise ValueError(
            f"lengths[{first}] is {array[first]}, every length {rule}; {remedy} "
            f"({int(wrong.sum())} of {array.size} lengths break this rule)"
        )


def _pack_reference(lengths: Int64Array, capacity: int) -> tuple[Int64Array, Int64Array]:
    """Best-fit decreasing, one sequence at a time as defined; the native code is tested against it."""
    spaces: list[int] = []  # the distinct spaces left in open bins, sorted
    bins_with: dict[int, list[int]] = {}  # space left -> heap of bins: the one opened first comes first
    members: list[list[int]] = []
    values = lengths.tolist()
    for index in np.argsort(-lengths, kind="stable").tolist():
        length = values[index]
        position = bisect_left(spaces, length)
        if position == len(spaces):
            bin_index, space = len(members), capacity
            members.append([])
        else:
            space = spaces[position]
            bin_index = heappop(bins_with[space])
            if not bins_with[space]:
                del bins_with[space], spaces[position]
        members[bin_index].append(index)
        left = space - length
        if left and left not in bins_with:
            bins_with[left] = []
            insort(spaces, left)
        if left:
            heappush(bins_with[left], bin_index)
    order = np.fromiter((index for bin_ in members for index in bin_), dtype=np.int64, count=len(values))
    offsets = np.zeros(len(members) + 1, dtype=np.int64)
    np.cumsum([len(bin_) for bin_ in members], out=offsets[1:])
    return order, offsets
