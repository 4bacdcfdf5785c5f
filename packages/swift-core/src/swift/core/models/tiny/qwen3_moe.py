"""Qwen3 mixture of experts: a router sends each token to two of four small MLPs."""

from __future__ import annotations

from transformers import Qwen3MoeConfig

from swift.core.models.tiny.family import TEXT_SIZES, TinyFamily


def family() -> TinyFamily:
    """Four experts in every layer, two active; embeddings are not tied."""
    return TinyFamily(
        Qwen3MoeConfig(
            **TEXT_SIZES,
            head_dim=32,
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=128,
            norm_topk_prob=True,
            tie_word_embeddings=False,
        )
    )
