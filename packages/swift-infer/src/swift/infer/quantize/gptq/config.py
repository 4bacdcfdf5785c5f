"""Keys of GPTQ."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swift.infer.quantize.config import GroupedConfig


class GptqConfig(GroupedConfig):
    """export: GPTQ."""

    rounding: Literal["gptq", "nearest"] = Field(
        "gptq", description="nearest: plain rounding without data, for what train.qat has trained"
    )
    damping: float = Field(
        0.01, gt=0, description="share of the mean diagonal added to the Hessian's diagonal"
    )
    act_order: bool = Field(
        True, description="round columns with large inputs first; groups stay where they are"
    )
