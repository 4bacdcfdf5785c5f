"""Settings of generative reranker training."""

from __future__ import annotations

from pydantic import Field

from swift.core.objectives.rerank.config import RerankerConfig


class GenerativeRerankerConfig(RerankerConfig):
    """train: a causal language model that answers yes where a document answers a query (arXiv 2506.05176)."""

    yes_token: str = Field("yes", description="the one token that means relevant")
    no_token: str = Field("no", description="the one token that means irrelevant")
