"""Mistral 7B v0.1: every layer attends within a sliding window."""

from __future__ import annotations

from transformers import MistralConfig

from swift.core.models.tiny.family import TEXT_SIZES, TinyFamily


def family() -> TinyFamily:
    """A window of 256 tokens; embeddings are not tied."""
    return TinyFamily(MistralConfig(**TEXT_SIZES, head_dim=32, sliding_window=256, tie_word_embeddings=False))
