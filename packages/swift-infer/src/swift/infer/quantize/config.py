"""Keys that quantisation methods share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from swift.core.config.schema import Config, Names

Backend = Literal["own", "llmcompressor"]
Rounding = Literal["gptq", "nearest"]
Damping = Annotated[
    float, Field(gt=0, description="share of the mean diagonal added to the Hessian's diagonal")
]


class QuantizerConfig(Config):
    """export: what every method reads."""

    ignore: Annotated[Names, Field(validate_default=False)] = Field(
        default_factory=lambda: ["lm_head"],
        description="linear layers that keep their precision: ends of their names (lm_head, mlp.down_proj)",
    )


class CalibratedConfig(QuantizerConfig):
    """export: what methods read that look at data."""

    calibration_samples: PositiveInt = Field(
        256, description="rows of data.dataset_name that the model reads while it is quantised"
    )
    calibration_length: PositiveInt = Field(1024, description="longest calibration row, in tokens")
    backend: Backend = Field(
        "own", description="own, or llmcompressor in its own environment (swift engines install)"
    )


class GroupedConfig(CalibratedConfig):
    """export: weights of few bits in groups."""

    bits: int = Field(4, ge=2, le=8, description="bits of a weight")
    group_size: PositiveInt | None = Field(
        128, description="weights of a row that share a scale; null: the whole row"
    )
    symmetric: bool = Field(True, description="scale alone; false: scale and zero point")
