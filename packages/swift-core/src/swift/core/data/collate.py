"""Samples to tensors. Shapes: B samples, T tokens of the longest (or, laid flat, of all together)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from swift.core.types import IGNORE_INDEX, Batch, Encoded

Array = npt.NDArray[np.generic]


def collate_padded(examples: Sequence[Encoded], pad_id: int) -> Batch:
    """One row a sample, padded on the right.

    Returns:
        input_ids, attention_mask and labels, int64 [B, T]; loss_weights float32 [B, T] if a sample has any;
        media tensors joined along dimension 0.
    """
    batch: Batch = {
        "input_ids": _padded([example.input_ids for example in examples], pad_id, np.int64),
        "attention_mask": _padded([np.ones(len(example.input_ids)) for example in examples], 0, np.int64),
        "labels": _padded([example.labels for example in examples], IGNORE_INDEX, np.int64),
    }
    weights = _weights(examples)
    if weights is not None:
        batch["loss_weights"] = _padded(weights, 0, np.float32)
    return batch | _media(examples)


def collate_flat(examples: Sequence[Encoded]) -> Batch:
    """All samples in one row; attention must keep to the boundaries in cu_seq_lens.

    The first label of each sample is ignored, so that shifting the labels never crosses a boundary.

    Returns:
        input_ids, labels and position_ids, int64 [1, T]; loss_weights float32 [1, T] if a sample has any;
        cu_seq_lens_q and cu_seq_lens_k, int32 [B + 1]; max_length_q and max_length_k (transformers'
        FlashAttentionKwargs); media tensors joined along dimension 0.
    """
    lengths = np.array([len(example.input_ids) for example in examples], dtype=np.int64)
    boundaries = np.concatenate([[0], np.cumsum(lengths)])
    labels = np.concatenate([example.labels for example in examples]).astype(np.int64)
    labels[boundaries[:-1]] = IGNORE_INDEX
    positions = np.arange(boundaries[-1]) - np.repeat(boundaries[:-1], lengths)
    cu_seq_lens = torch.from_numpy(boundaries.astype(np.int32))
    longest = int(lengths.max())
    batch: Batch = {
        "input_ids": _row(np.concatenate([example.input_ids for example in examples]), np.int64),
        "labels": _row(labels, np.int64),
        "position_ids": _row(positions, np.int64),
        "cu_seq_lens_q": cu_seq_lens,
        "cu_seq_lens_k": cu_seq_lens,
        "max_length_q": longest,
        "max_length_k": longest,
    }
    weights = _weights(examples)
    if weights is not None:
        batch["loss_weights"] = _row(np.concatenate(weights), np.float32)
    return batch | _media(examples)


def _weights(examples: Sequence[Encoded]) -> list[npt.NDArray[np.float32]] | None:
    """A sample without weights among samples with weights counts as all ones."""
    if all(example.loss_weights is None for example in examples):
        return None
    return [
        np.ones(len(example.input_ids), dtype=np.float32)
        if example.loss_weights is None
        else example.loss_weights
        for example in examples
    ]


def _row(array: Array, dtype: npt.DTypeLike) -> torch.Tensor:
    return torch.from_numpy(array.astype(dtype))[None]


def _padded(arrays: Sequence[Array], value: float, dtype: npt.DTypeLike) -> torch.Tensor:
    longest = max(len(array) for array in arrays)
    table = np.full((len(arrays), longest), value, dtype=dtype)
    for row, array in zip(table, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(table)


def _media(examples: Sequence[Encoded]) -> Batch:
    names = {name: None for example in examples for name in example.media or {}}
    return {
        name: torch.cat(
            [example.media[name] for example in examples if example.media and name in example.media]
        )
        for name in names
    }
