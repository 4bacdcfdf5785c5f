"""Settings of embedding training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swift.core.objectives.loss_config import LossConfig

USUAL_LOSS = "infonce"


class EmbeddingConfig(LossConfig):
    """train: vectors that are near to each other where their texts are related."""

    pooling: Literal["last", "mean", "cls"] = Field(
        "last",
        description="a text's vector: its last token's (causal models), the mean, or its first token's",
    )
    in_batch_negatives: bool = Field(
        True, description="infonce: the texts of the other anchors of a batch are negatives too"
    )
    gather_negatives: bool = Field(
        True, description="infonce: those of the other ranks as well, with gradient"
    )
