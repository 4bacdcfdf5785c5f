"""Shifted sparse attention on plain tensors (arXiv 2309.12307, section 3.2).

Shapes: B rows, H query heads, G key-value heads (H is a multiple of G), T tokens, D and E head sizes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swift.core.models.segments import attend_segments


@dataclass(frozen=True)
class Groups:
    """How long a group is.

    Attributes:
        size: tokens; None: ratio decides.
        ratio: share of the length of the sequence that the group is in.
    """

    size: int | None = None
    ratio: float = 0.25

    def length(self, tokens: int) -> int:
        """Tokens of a group in a sequence of so many: size, or ceil(ratio * tokens), at least 2."""
        return self.size if self.size is not None else max(2, math.ceil(self.ratio * tokens))

    def bounds(self, sequences: Sequence[int], *, shifted: bool) -> list[int]:
        """Where groups begin and end: 0, g, 2g, ... in each sequence, or 0, g/2, g/2 + g, ... when shifted.

        The last group of a sequence is shorter where g does not divide its length. A shifted sequence begins
        with half a group instead of joining it to the last half: no token ever sees a later one.

        Args:
            sequences: s_0 < s_1 < ... < s_N, the bounds of the sequences that lie in a row.
        """
        bounds = [sequences[0]]
        for start, end in itertools.pairwise(sequences):
            length = self.length(end - start)
            first = start + (length // 2 if shifted else length)
            bounds += [*range(first, end, length), end]
        return bounds


def shifted_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sequences: Sequence[int],
    groups: Groups,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Causal attention within groups, which are shifted by half a group for the second half of the heads.

    Args:
        query: [B, H, T, D].
        key: [B, G, T, D].
        value: [B, G, T, E].
        sequences: 0 = s_0 < ... < s_N = T, the same in all rows; tokens of different ones never meet.
        groups: how long they are.
        scaling, sliding_window, dropout: as in attend_segments().

    Returns:
        [B, T, H, E].
    """
    half = query.shape[1] // 2
    key, value = _splittable(key, query.shape[1]), _splittable(value, query.shape[1])
    ours = half * key.shape[1] // query.shape[1]
    outputs = []
    for shifted, heads, shared in (
        (False, slice(0, half), slice(0, ours)),
        (True, slice(half, None), slice(ours, None)),
    ):
        if query[:, heads].shape[1]:
            bounds = groups.bounds(sequences, shifted=shifted)
            parts = query[:, heads], key[:, shared], value[:, shared]
            outputs.append(attend_segments(*parts, bounds, scaling, sliding_window, dropout))
    return torch.cat(outputs, dim=2)


def _splittable(tensor: Tensor, query_heads: int) -> Tensor:
    """Key-value heads of which the query heads' halves use different ones; repeated where they share one."""
    heads = tensor.shape[1]
    if heads % 2 == 0 or heads == query_heads:
        return tensor
    return tensor.repeat_interleave(query_heads // heads, 1)
