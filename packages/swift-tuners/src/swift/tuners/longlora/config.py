"""Settings of LongLoRA (arXiv 2309.12307)."""

from __future__ import annotations

from pydantic import Field

from swift.tuners.lora.config import LoraConfig


class LongloraConfig(LoraConfig):
    """train: LoRA, embeddings and norms, with attention in shifted groups."""

    group_size: int | None = Field(
        None, ge=2, description="tokens of a group; default: group_size_ratio decides, for each sequence"
    )
    group_size_ratio: float = Field(
        0.25, gt=0.0, le=1.0, description="tokens of a group as a share of its sequence's length"
    )
    train_embeddings: bool = Field(True, description="the input embeddings train in full and are saved")
    train_norms: bool = Field(True, description="all norms train in full and are saved")
