"""Encoded samples in memory: flat arrays, so that a million of them are four objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from swift.core.types import IGNORE_INDEX, Encoded

Int32 = npt.NDArray[np.int32]


class Tokens:
    """Arrays of unequal lengths, end to end.

    Args:
        arrays: [T_i] each.
    """

    def __init__(self, arrays: Sequence[npt.NDArray[Any]], dtype: npt.DTypeLike) -> None:
        self.flat = np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.zeros(0, dtype)
        self.offsets = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(array) for array in arrays], out=self.offsets[1:])

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]


class EncodedDataset(Dataset[Encoded]):
    """A map-style data set of samples.

    Args:
        samples: what encode() gave, in order.

    Attributes:
        lengths: int64 [n] tokens of each sample, of everything that belongs to it together.
    """

    def __init__(self, samples: Sequence[Encoded]) -> None:
        self._ids = Tokens([sample.input_ids for sample in samples], np.int32)
        self._labels = Tokens([sample.labels for sample in samples], np.int32)
        self._weights = {
            index: sample.loss_weights
            for index, sample in enumerate(samples)
            if sample.loss_weights is not None
        }
        self._media: dict[int, dict[str, torch.Tensor]] = {
            index: sample.media for index, sample in enumerate(samples) if sample.media is not None
        }
        self._columns: list[Mapping[str, Any]] = [sample.columns for sample in samples]
        self._origins = [sample.origin for sample in samples]
        self._answers = {
            index: sample.label for index, sample in enumerate(samples) if sample.label is not None
        }
        rejected = [sample.rejected for sample in samples if sample.rejected is not None]
        self._rejected = EncodedDataset(rejected) if rejected else None
        self.lengths: npt.NDArray[np.int64] = np.diff(self._ids.offsets)
        if self._rejected is not None:
            self.lengths = self.lengths + self._rejected.lengths
        self._others: EncodedDataset | None = None
        if any(sample.others for sample in samples):
            self._others = EncodedDataset([other for sample in samples for other in sample.others])
            self._first_other = np.cumsum([0, *(len(sample.others) for sample in samples)])
            totals = np.concatenate([[0], np.cumsum(self._others.lengths)])
            self.lengths = self.lengths + np.diff(totals[self._first_other])

    @property
    def supervised_tokens(self) -> int:
        """Tokens that are learned, over all samples."""
        own = int((self._labels.flat != IGNORE_INDEX).sum())
        return own + (self._rejected.supervised_tokens if self._rejected is not None else 0)

    def __len__(self) -> int:
        return len(self._origins)

    def __getitem__(self, index: int) -> Encoded:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index %= len(self)
        return Encoded(
            self._ids[index],
            self._labels[index],
            loss_weights=self._weights.get(index),
            media=self._media.get(index),
            rejected=self._rejected[index] if self._rejected is not None else None,
            others=self._others_of(index),
            label=self._answers.get(index),
            columns=self._columns[index],
            origin=self._origins[index],
        )

    def _others_of(self, index: int) -> tuple[Encoded, ...]:
        if self._others is None:
            return ()
        first, end = self._first_other[index : index + 2]
        return tuple([self._others[number] for number in range(int(first), int(end))])
