"""Settings of LoReFT (arXiv 2404.03592)."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from swift.core.config.schema import Config, Names


class ReftConfig(Config):
    """train: h + R^T (W h + b - R h) of a layer's output h, where W, b and R (orthonormal rows) train."""

    reft_rank: PositiveInt = Field(8, description="rows of R; less than the model's width")
    reft_layers: list[NonNegativeInt] | Literal["all"] = Field(
        "all", description="numbers of the layers whose output is changed, from 0 on"
    )
    reft_positions: Literal["all", "prompt"] = Field(
        "all",
        description="which tokens: all, or the first and last ones of the prompt (the paper), "
        "which in training is what comes before a row's first learned token",
    )
    reft_first_tokens: NonNegativeInt = Field(
        7, description="with reft_positions: prompt, how many first ones"
    )
    reft_last_tokens: NonNegativeInt = Field(7, description="with reft_positions: prompt, how many last ones")
    reft_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout of W h + b - R h while training")
    modules_to_save: Names = Field(
        default_factory=list, description="layers that train in full and are saved with the adapter"
    )
