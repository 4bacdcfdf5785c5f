"""Which samples a rank sees at each step: the same global batches for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

Int64 = npt.NDArray[np.int64]

MEGABATCH = 50
"""Global batches within which samples are sorted by length: more pad less, fewer mix better."""


class GlobalBatchSampler(Sampler[list[int]]):
    """Cuts an epoch into global batches of batch_size * world_size samples, and each of those into shares.

    The order depends on seed and epoch alone, so two ranks with batches of 4 learn from the same samples at
    the same step as one process with batches of 8. The last global batch may be small; its samples are shared
    out evenly, and a rank that gets none yields an empty list. Nothing is repeated or left out.

    Args:
        length: samples in the data set.
        batch_size: samples of a share.
        rank, world_size: whose share this is.
        seed: of the order, with the epoch; None keeps the data set's order.
        lengths: [length] tokens of each sample: batches are made of samples of similar length.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        seed: int | None = 0,
        lengths: Int64 | None = None,
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.lengths = lengths
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng([self.seed, self.epoch]) if self.seed is not None else None
        order = np.arange(self.length)
        if generator is not None:
            generator.shuffle(order)
        size = self.batch_size * self.world_size
        if self.lengths is not None:
            order = grouped_by_length(order, self.lengths, size, generator)
        for start in range(0, self.length, size):
            shares = np.array_split(order[start : start + size], self.world_size)
            yield shares[self.rank].tolist()


def grouped_by_length(
    order: Int64, lengths: Int64, size: int, generator: np.random.Generator | None
) -> Int64:
    """The same samples in an order whose batches hold similar lengths.

    Samples are sorted within stretches of MEGABATCH batches (fewer in a small data set, so that batches still
    differ between epochs); then the batches are shuffled, because lengths that fall in step with time would
    be a curriculum that no one asked for. The batch with the longest sample comes first: what does not fit
    into memory shows at once. A small batch stays last.

    Args:
        order: [n] sample numbers.
        lengths: [n] tokens of each sample.
        size: samples of a batch.
        generator: shuffles the batches; None keeps them sorted within their stretch.
    """
    stretch = size * max(1, min(MEGABATCH, len(order) // (4 * size)))
    parts = [order[start : start + stretch] for start in range(0, len(order), stretch)]
    by_length = [part[np.argsort(-lengths[part], kind="stable")] for part in parts]
    ordered: Int64 = np.concatenate([order[:0], *by_length])
    whole = len(order) // size
    if whole == 0:
        return ordered
    batches, rest = ordered[: whole * size].reshape(whole, size), ordered[whole * size :]
    if generator is not None:
        generator.shuffle(batches)
    first = int(lengths[batches].max(axis=1).argmax())
    batches[[0, first]] = batches[[first, 0]]
    grouped: Int64 = np.concatenate([batches.ravel(), rest])
    return grouped
