"""Keys of GPTQ."""

from __future__ import annotations

from pydantic import Field

from swift.infer.quantize.config import Damping, GroupedConfig, Rounding


class GptqConfig(GroupedConfig):
    """export: GPTQ."""

    rounding: Rounding = Field(
        "gptq", description="nearest: plain rounding without data, for what train.qat has trained"
    )
    damping: Damping = 0.01
    act_order: bool = Field(
        True, description="round columns with large inputs first; groups stay where they are"
    )
