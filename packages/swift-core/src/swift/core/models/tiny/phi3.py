"""Phi-3: fused query-key-value and gate-up projections."""

from __future__ import annotations

from transformers import Phi3Config

from swift.core.models.tiny.family import TEXT_SIZES, TinyFamily


def family() -> TinyFamily:
    """Embeddings are not tied."""
    return TinyFamily(Phi3Config(**TEXT_SIZES, tie_word_embeddings=False))
