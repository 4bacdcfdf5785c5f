"""Keys and values of the running sequences: row r of every layer belongs to running sequence r.

Shapes: R rows, C columns (tokens), K key heads, D head size. Token t of a sequence lies in column t.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from swift.infer.engines.transformers.masks import decode_masks

MIN_COLUMNS = 64


class RowLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values [R, K, C, D] of one layer."""

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None
        self.needed = (0, 0)
        self.rows = torch.empty(0, dtype=torch.long)
        self.columns = torch.empty(0, dtype=torch.long)
        self.width = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate the rows and columns that are needed; what they held stays."""
        self.keys = self._grown(self.keys, key_states)
        self.values = self._grown(self.values, value_states)
        self.is_initialized = True

    def _grown(self, old: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        rows, columns = self.needed
        if old is not None and (old.shape[0], old.shape[2]) == self.needed:
            return old
        # zeros: columns that no token has filled are masked, and a masked NaN would still spread
        new = like.new_zeros(rows, like.shape[1], columns, like.shape[3])
        if old is not None:
            kept = old[:rows, :, :columns]
            new[: kept.shape[0], :, : kept.shape[2]] = kept
        return new

    def place(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Copy a prompt's keys and values [K, T, D] into a row."""
        self.lazy_initialization(keys[None], values[None])
        assert self.keys is not None and self.values is not None
        self.keys[row, :, : keys.shape[1]] = keys
        self.values[row, :, : values.shape[1]] = values

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first length tokens of one row over another."""
        if self.keys is None or self.values is None:
            return
        self.keys[target, :, :length] = self.keys[source, :, :length]
        self.values[target, :, :length] = self.values[source, :, :length]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append one token a row, [B, K, 1, D], and give back the first B rows up to the longest."""
        self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        self.keys[self.rows, :, self.columns] = key_states[:, :, 0]
        self.values[self.rows, :, self.columns] = value_states[:, :, 0]
        count = key_states.shape[0]
        return self.keys[:count, :, : self.width], self.values[:count, :, : self.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns attended to, offset of the first one)."""
        return self.width, 0

    def get_seq_length(self) -> int:
        """Tokens of the longest row before this step."""
        return max(self.width - 1, 0)

    def get_max_length(self) -> int:
        """-1: grows on demand."""
        return -1


class RowCache(Cache):  # type: ignore[misc]
    """One RowLayer a layer, and the place where the next token of every row goes.

    Args:
        tokens: rows times columns stay within it, as far as the sequences themselves do.
        config: the model's text config, which says what its layers see.
    """

    def __init__(self, num_layers: int, tokens: int, config: Any) -> None:
        super().__init__(layers=[RowLayer() for _ in range(num_layers)])
        self.tokens = tokens
        self._config = config
        self.capacity = (0, 0)

    def reserve(self, lengths: Sequence[int], most: int) -> None:
        """Make room before rows are placed or extended; growth doubles, so copies stay rare.

        Whichever side grows, the other one gives back what only sequences that have left needed.

        Args:
            lengths: tokens of each row.
            most: tokens that the longest of all of them may have at its end.
        """
        rows, columns = len(lengths), max(lengths)
        have_rows, have_columns = self.capacity
        if rows <= have_rows and columns <= have_columns:
            return
        wide = max(have_columns if columns <= have_columns else 2 * have_columns, MIN_COLUMNS)
        wide = max(columns, min(wide, most))
        high = have_rows if rows <= have_rows else 2 * have_rows
        self.capacity = (max(rows, min(high, self.tokens // wide)), wide)
        for layer in self.layers:
            layer.needed = self.capacity

    def place(self, row: int, prompts: Cache, index: int, length: int) -> None:
        """Copy the first length tokens of prompt `index` of a prefilled cache into a row."""
        for layer, source in zip(self.layers, prompts.layers, strict=True):
            layer.place(row, source.keys[index, :, :length], source.values[index, :, :length])

    def fits(self, mosts: Sequence[int]) -> bool:
        """Whether rows of these lengths have room at their ends: rows times the longest one.

        Nobody is ever thrown out for want of it.
        """
        return len(mosts) * max(mosts) <= self.tokens

    def leave(self, row: int, last: int, length: int) -> None:
        """Copy the last row, of length tokens, over one whose sequence has left."""
        if row != last:
            for layer in self.layers:
                layer.move(last, row, length)

    def masks(self, lengths: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | dict[str, torch.Tensor]:
        """Which columns each row may see."""
        return decode_masks(self._config, lengths, self.layers[0].width, dtype)

    def attending(self) -> AbstractContextManager[None]:
        """Forward passes within attend over these rows."""
        return nullcontext()

    def begin(self, lengths: torch.Tensor, longest: int) -> None:
        """Tell the layers where this step's tokens go.

        Args:
            lengths: int64 [B], tokens that each row holds already.
            longest: the greatest of them.
        """
        rows = torch.arange(lengths.shape[0], device=lengths.device)
        for layer in self.layers:
            layer.rows, layer.columns, layer.width = rows, lengths, longest + 1

    def clear(self) -> None:
        """Give the memory back."""
        self.capacity = (0, 0)
        for layer in self.layers:
            layer.keys = layer.values = None
            layer.is_initialized = False
            layer.needed = (0, 0)
