"""Qwen2 and Qwen2.5: biases on queries, keys and values."""

from __future__ import annotations

from transformers import Qwen2Config

from swift.core.models.tiny.family import TEXT_SIZES, TinyFamily


def family() -> TinyFamily:
    """Tied embeddings, as the real models up to 3B have."""
    return TinyFamily(Qwen2Config(**TEXT_SIZES, tie_word_embeddings=True))
