"""Gemma 3 text: sliding-window layers between full ones, norms before and after each block."""

from __future__ import annotations

from transformers import Gemma3TextConfig

from swift.core.models.tiny.family import TEXT_SIZES, TinyFamily


def family() -> TinyFamily:
    """Three layers with a window of 64 tokens, then a full one; tied embeddings."""
    layer_types = ["sliding_attention"] * 3 + ["full_attention"]
    return TinyFamily(
        Gemma3TextConfig(
            **TEXT_SIZES,
            head_dim=32,
            query_pre_attn_scalar=32,
            sliding_window=64,
            layer_types=layer_types,
            tie_word_embeddings=True,
        )
    )
