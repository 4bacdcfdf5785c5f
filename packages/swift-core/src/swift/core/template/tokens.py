"""Rendered text to tokens and labels; the labels follow the characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from swift.core.template.render import Rendered, Span
from swift.core.template.words import token_at
from swift.core.types import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""input_ids [T] and labels [T]."""


def tokenise(backend: Tokenizer, rows: Sequence[Rendered]) -> list[Tokens]:
    """A batch through a Rust tokenizer, which uses all cores unless TOKENIZERS_PARALLELISM=false."""
    encodings = backend.encode_batch([row.text for row in rows], add_special_tokens=False)
    return [_labelled(encoding, row.spans) for encoding, row in zip(encodings, rows, strict=True)]


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
    return ids, labels


def tokenise_slowly(tokenizer: PreTrainedTokenizerBase, row: Rendered) -> Tokens:
    """One row through a tokenizer written in Python, which reports no offsets: span by span."""
    ids: list[int] = []
    learned: list[bool] = []
    position = 0
    for start, end in [*row.spans, (len(row.text), len(row.text))]:
        for text, flag in ((row.text[position:start], False), (row.text[start:end], True)):
            piece = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
            ids += piece
            learned += [flag] * len(piece)
        position = end
    array = np.array(ids, dtype=np.int32)
    return array, np.where(np.array(learned, dtype=bool), array, np.int32(IGNORE_INDEX))
