"""Keys and values of the running sequences in pages: a row holds what its own length needs.

Shapes: P pages of S tokens, B rows, W pages of the longest row, K key heads, D head size. Token t of row b
lies in page table[b, t // S] at t % S.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from swift.kernels import paged_attention

PAGE = 32
_step: ContextVar[PagedCache | None] = ContextVar("swift_paged_step", default=None)


def stepping() -> PagedCache | None:
    """The cache whose rows the model is given one new token each, if it is."""
    return _step.get()


class PagedLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values [P, K, S, D] of one layer.

    Args:
        window: the latest tokens that its attention sees; 0: all.
    """

    is_sliding = False

    def __init__(self, cache: PagedCache, window: int) -> None:
        super().__init__()
        self._cache = cache
        self.window = window
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate all pages of the cache; what they held stays."""
        self.keys = self._grown(self.keys, key_states)
        self.values = self._grown(self.values, value_states)
        self.is_initialized = True

    def _grown(self, old: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        if old is not None and old.shape[0] == self._cache.pages:
            return old
        new = like.new_empty(self._cache.pages, like.shape[1], PAGE, like.shape[3])
        if old is not None:
            new[: old.shape[0]] = old
        return new

    def place(self, pages: Sequence[int], keys: torch.Tensor, values: torch.Tensor) -> None:
        """Copy a prompt's keys and values [K, T, D] into pages."""
        self.lazy_initialization(keys[None], values[None])
        for pool, states in ((self.keys, keys), (self.values, values)):
            assert pool is not None
            for number, chunk in enumerate(torch.split(states, PAGE, dim=1)):
                pool[pages[number], :, : chunk.shape[1]] = chunk

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Announce one token a row, [B, K, 1, D]; the attention that follows writes it."""
        self.lazy_initialization(key_states, value_states)
        self._cache.announce(self)
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns attended to, offset of the first one)."""
        return self._cache.longest + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens of the longest row before this step."""
        return self._cache.longest

    def get_max_length(self) -> int:
        """-1: grows on demand."""
        return -1


class PagedCache(Cache):  # type: ignore[misc]
    """One PagedLayer a layer, and which pages belong to which row.

    Args:
        windows: the window of each layer; 0: none.
        kinds: of masks, when the model wants one a kind.
        tokens: most that all rows together may hold.
    """

    def __init__(self, windows: Sequence[int], kinds: Sequence[str], tokens: int) -> None:
        super().__init__(layers=[PagedLayer(self, window) for window in windows])
        self._kinds = kinds
        self._most = -(-tokens // PAGE)
        self._announced: PagedLayer | None = None
        self.clear()

    def clear(self) -> None:
        """Give the memory back."""
        self.pages = 0
        self.longest = 0
        self._free: list[int] = []
        self._rows: list[list[int]] = []
        for layer in self.layers:
            layer.keys = layer.values = None
            layer.is_initialized = False

    def fits(self, mosts: Sequence[int]) -> bool:
        """Whether rows of these lengths have room at their ends: nobody is ever thrown out for want of it."""
        return sum(-(-most // PAGE) for most in mosts) <= self._most

    def reserve(self, lengths: Sequence[int], most: int) -> None:
        """Give every row the pages of its length; growth doubles, so copies stay rare.

        Args:
            lengths: tokens of each row.
            most: unused here; what the longest may have at its end.
        """
        self._rows += [[] for _ in range(len(lengths) - len(self._rows))]
        for row, length in zip(self._rows, lengths, strict=True):
            while len(row) * PAGE < length:
                if not self._free:
                    self._grow()
                row.append(self._free.pop())

    def _grow(self) -> None:
        before, self.pages = self.pages, min(max(2 * self.pages, 4), self._most)
        if self.pages == before:
            raise RuntimeError(f"all {before} pages are in use, which the admission of requests rules out")
        self._free += range(self.pages - 1, before - 1, -1)

    def place(self, row: int, prompts: Cache, index: int, length: int) -> None:
        """Copy the first length tokens of prompt `index` of a prefilled cache into a row."""
        for layer, source in zip(self.layers, prompts.layers, strict=True):
            layer.place(self._rows[row], source.keys[index, :, :length], source.values[index, :, :length])

    def leave(self, row: int, last: int, length: int) -> None:
        """Free a row's pages; the last row takes its place.

        Args:
            length: unused here; tokens of the last row.
        """
        self._free += self._rows[row]
        self._rows[row] = self._rows[last]
        self._rows.pop()

    def begin(self, lengths: torch.Tensor, longest: int) -> None:
        """Tell the layers where this step's tokens go.

        Args:
            lengths: int64 [B], tokens that each row holds already.
            longest: the greatest of them.
        """
        table = np.zeros((len(self._rows), longest // PAGE + 1), dtype=np.int32)
        for row, pages in zip(table, self._rows, strict=True):
            row[: len(pages)] = pages
        self._table, self._lengths, self.longest = torch.from_numpy(table), lengths, longest

    def masks(self, lengths: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | dict[str, torch.Tensor]:
        """What keeps the model from making masks: the attention knows every row's length."""
        nothing = torch.zeros(lengths.shape[0], 1, 1, 1, dtype=dtype)
        return dict.fromkeys(self._kinds, nothing) if self._kinds else nothing

    @contextlib.contextmanager
    def attending(self) -> Iterator[None]:
        """Forward passes within attend over these pages.

        Raises:
            RuntimeError: a layer attends in a way of its own.
        """
        token = _step.set(self)
        try:
            yield
            self._check_consumed()
        finally:
            self._announced = None
            _step.reset(token)

    def announce(self, layer: PagedLayer) -> None:
        """Take the layer whose attention comes next."""
        self._check_consumed()
        self._announced = layer

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """Attention [B, H, D] of one new token a row, [B, H or K, D] each."""
        layer, self._announced = self._announced, None
        if layer is None or layer.keys is None or layer.values is None:
            raise RuntimeError("a layer attends without keys and values of its own; set infer.paged=false")
        return paged_attention(
            query,
            key,
            value,
            layer.keys,
            layer.values,
            self._table,
            self._lengths,
            scale=query.shape[-1] ** -0.5 if scale is None else scale,
            window=layer.window,
        )

    def _check_consumed(self) -> None:
        if self._announced is not None:
            raise RuntimeError("a layer attends in a way of its own; set infer.paged=false")
