"""Ranks share the very batches that one process would see."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swift.core.data.sampler import GlobalBatchSampler


@given(st.integers(0, 60), st.integers(1, 7), st.integers(1, 5), st.integers(0, 3))
def test_shares_make_up_the_batches_of_one_process(length: int, batch: int, world: int, epoch: int) -> None:
    alone = GlobalBatchSampler(length, batch * world, seed=3)
    ranks = [GlobalBatchSampler(length, batch, rank=rank, world_size=world, seed=3) for rank in range(world)]
    for sampler in (alone, *ranks):
        sampler.set_epoch(epoch)
    shares = [list(sampler) for sampler in ranks]
    assert [list(chain.from_iterable(parts)) for parts in zip(*shares, strict=True)] == list(alone)
    assert all(len(mine) == len(alone) == len(sampler) for mine, sampler in zip(shares, ranks, strict=True))
    assert sorted(chain.from_iterable(alone)) == list(range(length))
    assert all(len(share) <= batch for mine in shares for share in mine)


def test_epochs_differ_and_repeat() -> None:
    sampler = GlobalBatchSampler(50, 8, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


@pytest.mark.parametrize("length", [5, 8])
def test_without_a_seed_the_order_is_kept(length: int) -> None:
    assert list(chain.from_iterable(GlobalBatchSampler(length, 3, seed=None))) == list(range(length))


def lengths_of(count: int) -> Any:
    """Long-tailed, as conversations are."""
    return np.random.default_rng(5).lognormal(5, 1, count).astype(np.int64) + 4


@given(st.integers(0, 400), st.integers(1, 7), st.integers(1, 5), st.integers(0, 3))
def test_length_groups_are_shared_out_alike(length: int, batch: int, world: int, epoch: int) -> None:
    lengths = lengths_of(length)
    alone = GlobalBatchSampler(length, batch * world, seed=3, lengths=lengths)
    ranks = [
        GlobalBatchSampler(length, batch, rank=rank, world_size=world, seed=3, lengths=lengths)
        for rank in range(world)
    ]
    for sampler in (alone, *ranks):
        sampler.set_epoch(epoch)
    shares = [list(sampler) for sampler in ranks]
    assert [list(chain.from_iterable(parts)) for parts in zip(*shares, strict=True)] == list(alone)
    assert sorted(chain.from_iterable(alone)) == list(range(length))
    sizes = [len(part) for part in alone]
    assert sizes[:-1] == [batch * world] * max(0, len(alone) - 1) and len(sizes) == len(alone)


def padding(batches: list[list[int]], lengths: Any) -> float:
    """Share of a batch's places that hold padding."""
    places = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    return 1 - float(lengths.sum()) / places


@pytest.mark.parametrize(
    ("count", "size", "world", "ratio"), [(4000, 8, 1, 0.25), (4000, 4, 4, 0.1), (200, 8, 1, 0.75)]
)
def test_length_groups_need_little_padding(count: int, size: int, world: int, ratio: float) -> None:
    lengths = lengths_of(count)
    shares = []
    for chosen in (None, lengths):
        ranks = [
            GlobalBatchSampler(count, size, rank=rank, world_size=world, seed=1, lengths=chosen)
            for rank in range(world)
        ]
        shares.append(padding([batch for sampler in ranks for batch in sampler if batch], lengths))
    before, after = shares
    print(f"{count} samples, {world} x {size}: padding {before:.1%} before, {after:.1%} after")
    assert before > 0.35
    assert after < ratio * before


def test_length_groups_are_mixed_and_begin_with_the_longest() -> None:
    lengths = lengths_of(2000)
    sampler = GlobalBatchSampler(2000, 8, seed=1, lengths=lengths)
    first = list(sampler)
    assert lengths.argmax() in first[0]
    means = np.array([lengths[batch].mean() for batch in first])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2  # no curriculum
    sampler.set_epoch(1)
    second = list(sampler)
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    sampler.set_epoch(0)
    assert list(sampler) == first
