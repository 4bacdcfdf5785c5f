"""Attention of one new token a row over its cached keys, grouped by key head.

Shapes: B rows, H query heads, K key heads, G = H / K, L cached tokens, D head size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from swift.infer.engines.transformers.pages import stepping

NAME = "swift_decode"


def decode_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """softmax(q k^T * scaling + mask) v without repeating the keys of a group, or over pages within a step.

    The G queries that share a key head become G query positions of one head, which saves the copy of the
    whole cache that repeating keys costs in every layer of every step. Anything but a masked single-token
    step goes to the attention of transformers.

    Args:
        query: [B, H, 1, D]; key: [B, K, L, D]; value: [B, K, L, Dv].
        attention_mask: additive [B, 1, 1, L].

    Returns:
        [B, 1, H, Dv], None.
    """
    rows, heads, length, size = query.shape
    pages = stepping()
    if pages is not None:
        if kwargs.get("position_bias") is not None:
            raise RuntimeError("the attention over pages takes no position bias; set infer.paged=false")
        attended = pages.attend(query[:, :, 0], key[:, :, 0], value[:, :, 0], scaling)
        return attended[:, None], None
    if length != 1 or attention_mask is None or kwargs.get("position_bias") is not None:
        result: tuple[torch.Tensor, torch.Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return result
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    output = nn.functional.scaled_dot_product_attention(
        grouped, key, value, attn_mask=attention_mask, scale=scaling
    )
    return output.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(NAME, decode_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
