"""Settings of reranker training."""

from __future__ import annotations

from swift.core.objectives.loss_config import LossConfig

USUAL_LOSS = "pointwise"


class RerankerConfig(LossConfig):
    """train: a score that is high where a document answers a query."""
