"""Keys and values that stand before every input, read and never added to.

Shapes: B rows, K key heads, N virtual tokens, T tokens, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class PrefixLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values [B, K, N, D]."""

    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: the prefix is there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The prefix, followed by keys and values [B, K, T, D] that are not kept.

        So a layer that gradient checkpointing computes twice sees the same both times.
        """
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns attended to, offset of the first one)."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """N."""
        return int(self.keys.shape[-2])

    def get_max_length(self) -> int:
        """-1: no limit."""
        return -1


def read_only(cache: Cache) -> Cache:
    """The same keys and values, never added to."""
    return Cache(layers=[PrefixLayer(layer.keys, layer.values) for layer in cache.layers])
