"""Ranks share the very batches that one process would see."""

from __future__ import annotations

from itertools import chain

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
