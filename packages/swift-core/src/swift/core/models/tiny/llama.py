"""Llama 3.2: the plain decoder."""

from __future__ import annotations

from transformers import LlamaConfig

from swift.core.models.tiny.family import TEXT_SIZES, TinyFamily


def family() -> TinyFamily:
    """Tied embeddings, as Llama 3.2 1B and 3B have."""
    return TinyFamily(LlamaConfig(**TEXT_SIZES, head_dim=32, tie_word_embeddings=True))
