"""Rendered text to tokens and labels; the labels follow the characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from swift.core.template.render import Piece, Rendered, Span
from swift.core.template.words import token_at
from swift.core.types import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32] | None]
"""input_ids [T], labels [T], and loss weights [T] where any label weighs other than 1."""


def tokenise(backend: Tokenizer, rows: Sequence[Rendered]) -> list[Tokens]:
    """A batch through a Rust tokenizer, which uses all cores unless TOKENIZERS_PARALLELISM=false."""
    encodings = backend.encode_batch([row.text for row in rows], add_special_tokens=False)
    return [
        _labelled(encoding, row.spans) if row.weights is None else _weighted(encoding, row.weights)
        for encoding, row in zip(encodings, rows, strict=True)
    ]


def _labelled(encoding: Encoding, spans: Sequence[Span]) -> Tokens:
    ids = np.array(encoding.ids, dtype=np.int32)
    labels = np.full_like(ids, IGNORE_INDEX)
    for start, end in spans:
        first = token_at(encoding, start, end)
        if first is None:
            continue
        last = next(
            token
            for character in range(end - 1, start - 1, -1)
            if (token := encoding.char_to_token(character)) is not None
        )
        labels[first : last + 1] = ids[first : last + 1]
    return ids, labels, None


def _weighted(encoding: Encoding, pieces: Sequence[Piece]) -> Tokens:
    """A token that covers characters of several weights takes the largest of them.

    So a token is learned as soon as one of its characters is, as it is without weights.
    """
    ids = np.array(encoding.ids, dtype=np.int32)
    starts, ends = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2).T
    starts = np.where(ends > starts, starts, starts - 1)  # offsets may leave out a token that is all space
    weights = np.zeros(len(ids), dtype=np.float32)
    for start, end, weight in pieces:
        covering = slice(np.searchsorted(ends, start, "right"), np.searchsorted(starts, end, "left"))
        np.maximum(weights[covering], weight, out=weights[covering])
    return supervised(ids, weights)


def supervised(ids: npt.NDArray[np.int32], weights: npt.NDArray[np.float32]) -> Tokens:
    """Tokens of weight 0 are not supervised."""
    learned = weights > 0
    labels = np.where(learned, ids, np.int32(IGNORE_INDEX))
    return ids, labels, None if (weights[learned] == 1).all() else weights


def tokenise_slowly(tokenizer: PreTrainedTokenizerBase, row: Rendered) -> Tokens:
    """One row through a tokenizer written in Python, which reports no offsets: piece by piece."""
    pieces = row.weights if row.weights is not None else [(start, end, 1.0) for start, end in row.spans]
    ids: list[int] = []
    weights: list[float] = []
    position = 0
    for start, end, weight in [*pieces, (len(row.text), len(row.text), 0.0)]:
        for text, factor in ((row.text[position:start], 0.0), (row.text[start:end], weight)):
            piece = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
            ids += piece
            weights += [factor] * len(piece)
        position = end
    return supervised(np.array(ids, dtype=np.int32), np.array(weights, dtype=np.float32))
