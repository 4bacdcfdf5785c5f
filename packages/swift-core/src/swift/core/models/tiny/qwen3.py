"""Qwen3: grouped-query attention with normalised queries and keys."""

from __future__ import annotations

from transformers import Qwen3Config

from swift.core.models.tiny.family import TEXT_SIZES, TinyFamily


def family() -> TinyFamily:
    """Tied embeddings, as the real models up to 4B have."""
    return TinyFamily(Qwen3Config(**TEXT_SIZES, head_dim=32, tie_word_embeddings=True))
