"""Settings of bottleneck adapters (arXiv 1902.00751, 2005.00247)."""

from typing import Literal

from pydantic import Field, PositiveInt

from swift.core.config.schema import Config, Names


class AdapterConfig(Config):
    """train: z + W_up f(W_down z + b_down) + b_up of a block's output z, where W and b train."""

    adapter_size: PositiveInt = Field(64, description="width of the bottleneck")
    adapter_activation: Literal["relu", "gelu", "silu", "tanh"] = Field("gelu", description="f")
    adapter_placement: Literal["both", "attention", "feed_forward"] = Field(
        "both",
        description="after which blocks of each layer: both (Houlsby), attention, or feed_forward (Pfeiffer)",
    )
    adapter_dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="dropout in the bottleneck while training"
    )
    target_modules: Names = Field(
        default_factory=list,
        description="after these modules instead, by the end of their name (mlp); their output has the "
        "model's width",
    )
    modules_to_save: Names = Field(
        default_factory=list, description="layers that train in full and are saved with the adapter"
    )
