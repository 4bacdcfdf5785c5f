"""Which cached tokens the next token of each row may see, for every kind of attention layer of a model."""

from __future__ import annotations

from typing import Any

import torch

KINDS = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


def attention_kinds(config: Any) -> set[str]:
    """Kinds of a text config's layers, by the rules of transformers' create_masks_for_generate."""
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        return set(layer_types)
    if getattr(config, "sliding_window", None) is not None:
        return {"sliding_attention"}
    if getattr(config, "attention_chunk_size", None) is not None:
        return {"chunked_attention"}
    return {"full_attention"}


def visible(kind: str, config: Any, columns: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """bool [B, L]: columns [L] that a token at position lengths [B, 1] attends to."""
    seen = columns <= lengths
    if kind == "sliding_attention":
        return seen & (columns > lengths - int(config.sliding_window))
    if kind == "chunked_attention":
        size = int(config.attention_chunk_size)
        return seen & (columns // size == lengths // size)
    return seen


def decode_masks(
    config: Any, lengths: torch.Tensor, width: int, dtype: torch.dtype
) -> torch.Tensor | dict[str, torch.Tensor]:
    """Additive masks [B, 1, 1, L]: one, or one for each kind when the config lists kinds by layer."""
    columns = torch.arange(width, device=lengths.device)
    lowest = torch.finfo(dtype).min
    masks = {}
    for kind in attention_kinds(config):
        seen = visible(kind, config, columns, lengths[:, None])
        masks[kind] = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, lowest)[
            :, None, None
        ]
    if getattr(config, "layer_types", None) is None:
        return next(iter(masks.values()))
    return masks
