"""Settings of direct preference optimisation."""

from pydantic import Field, field_validator

from swift.core.config.schema import Config

LOSS_TYPES = ("sigmoid",)


class DPOConfig(Config):
    """train: learn which of two answers is preferred (arXiv 2305.18290)."""

    beta: float = Field(0.1, gt=0, description="how strongly the policy is held to the reference")
    loss_type: str = Field("sigmoid", description=f"loss of a pair: {', '.join(LOSS_TYPES)}")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of pairs thought to be swapped")

    @field_validator("loss_type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in LOSS_TYPES:
            raise ValueError(f"dpo knows {', '.join(LOSS_TYPES)}")
        return value
