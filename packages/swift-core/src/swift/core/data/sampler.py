"""Which samples a rank sees at each step: the same global batches for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


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
    """

    def __init__(
        self, length: int, batch_size: int, *, rank: int = 0, world_size: int = 1, seed: int | None = 0
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.length)
        if self.seed is not None:
            np.random.default_rng([self.seed, self.epoch]).shuffle(order)
        size = self.batch_size * self.world_size
        for start in range(0, self.length, size):
            shares = np.array_split(order[start : start + size], self.world_size)
            yield shares[self.rank].tolist()
