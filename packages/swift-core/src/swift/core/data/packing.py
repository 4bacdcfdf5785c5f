"""Several samples in one row of the context's length; attention keeps them apart."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from swift.core.errors import ConfigError, DataError
from swift.core.types import Encoded

Int64 = npt.NDArray[np.int64]


class SizedSamples(Protocol):
    """What can be packed."""

    lengths: Int64

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Encoded: ...


class PackedDataset(Dataset[list[Encoded]]):
    """Packs of samples of at most capacity tokens together.

    Args:
        dataset: samples by index, with their lengths.
        capacity: tokens of one pack.
        seed: order of the packs (longest-first otherwise, which no one wants to train on); None keeps it.

    Attributes:
        lengths: int64 [packs] tokens of each pack.
        fill: share of all slots that hold a token.

    Raises:
        ConfigError: swift-kernels is not installed.
        DataError: a sample is longer than the capacity.
    """

    def __init__(self, dataset: SizedSamples, capacity: int, seed: int | None = 0) -> None:
        self.dataset = dataset
        self.order, self.offsets = pack_samples(dataset.lengths, capacity)
        self._packs = np.arange(len(self.offsets) - 1)
        if seed is not None:
            np.random.default_rng(seed).shuffle(self._packs)
        starts = np.concatenate([[0], np.cumsum(dataset.lengths[self.order])])
        self.lengths: Int64 = np.diff(starts[self.offsets])[self._packs]
        self.fill = float(self.lengths.sum() / max(1, capacity * len(self._packs)))

    def __len__(self) -> int:
        return len(self._packs)

    def __getitem__(self, index: int) -> list[Encoded]:
        pack = self._packs[index]
        members = self.order[self.offsets[pack] : self.offsets[pack + 1]]
        return [self.dataset[int(member)] for member in members]


def pack_samples(lengths: Int64, capacity: int) -> tuple[Int64, Int64]:
    """Sample indices grouped by pack, and where each pack starts.

    Raises:
        ConfigError: swift-kernels is not installed.
        DataError: a sample is longer than the capacity.
    """
    try:
        from swift.kernels import pack
    except ImportError:
        raise ConfigError(
            "data.packing is true, but the package that packs is not installed", "pip install swift-kernels"
        ) from None
    if len(lengths) and lengths.max() > capacity:
        raise DataError(
            f"sample {int(lengths.argmax())} has {int(lengths.max())} tokens, a pack holds {capacity}",
            "raise data.max_length, or set data.truncation",
        )
    packing = pack(np.asarray(lengths, dtype=np.int64), capacity)
    return packing.order, packing.offsets
