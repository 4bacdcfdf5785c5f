"""Causal attention within each of several sequences that lie in one row."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch.nn.functional import scaled_dot_product_attention


def attend_segments(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: Sequence[int],
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """softmax(scaling * q k^T) v, where token i of a sequence sees its tokens j with i - window < j <= i.

    One causal sdpa call a sequence. The tensors are split once and joined once: slicing them instead would
    make the backward pass fill a tensor of the whole row for every sequence.

    Args:
        query: [1, H, T, D].
        key: [1, G, T, D]; H is a multiple of G.
        value: [1, G, T, E].
        boundaries: 0 = b_0 < b_1 < ... < b_N = T; sequence i holds tokens b_i to b_{i+1} - 1.
        scaling: factor of the scores; None is 1 / sqrt(D).
        sliding_window: most tokens that one token sees, itself included; None is all.
        dropout: probability of dropping an attention weight.

    Returns:
        [1, T, H, E].
    """
    lengths = [end - start for start, end in itertools.pairwise(boundaries)]
    parts = zip(*(torch.split(tensor, lengths, 2) for tensor in (query, key, value)), strict=True)
    outputs = [_attend(q, k, v, scaling, sliding_window, dropout).transpose(1, 2) for q, k, v in parts]
    return torch.cat(outputs, dim=1)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int | None,
    dropout: float,
) -> torch.Tensor:
    length = query.shape[2]
    if window is None or length <= window:
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=True
        )
    groups = query.shape[1] // key.shape[1]
    return scaled_dot_product_attention(
        query,
        key.repeat_interleave(groups, 1),  # fused kernels take a mask or grouped heads, not both
        value.repeat_interleave(groups, 1),
        attn_mask=_band(length, window, query.device),
        scale=scaling,
        dropout_p=dropout,
    )


def _band(length: int, window: int, device: torch.device) -> torch.Tensor:
    """[t, t] mask of a single sequence: True where 0 <= i - j < window."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < window)
