"""Causal attention within each of several sequences that lie in one row."""

from __future__ import annotations

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
    """softmax(scaling * q k^T) v, token i of a sequence over its tokens j with i - window < j <= i.

    Args:
        query: [1, H, T, D].
        key: [1, G, T, D]; H is a multiple of G.
        value: [1, G, T, D].
        boundaries: 0 = b_0 < b_1 < ... < b_N = T; sequence i holds tokens b_i to b_{i+1} - 1.
        scaling: factor of the scores; None is 1 / sqrt(D).
        sliding_window: most tokens that one token sees, itself included; None is all.

    Returns:
        [1, T, H, D].
    """
    grouped = query.shape[1] != key.shape[1]
    outputs = []
    for start, end in zip(boundaries[:-1], boundaries[1:], strict=True):
        window = _window_mask(end - start, sliding_window, query.device)
        outputs.append(
            scaled_dot_product_attention(
                query[:, :, start:end], key[:, :, start:end], value[:, :, start:end],
                attn_mask=window, is_causal=window is None, scale=scaling, dropout_p=dropout, enable_gqa=grouped,
            ).transpose(1, 2)
        )  # fmt: skip
    return torch.cat(outputs, dim=1)


def _window_mask(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Band [t, t] of one sequence that is longer than the window; None where plain causality says the same."""
    if window is None or length <= window:
        return None
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < window)
