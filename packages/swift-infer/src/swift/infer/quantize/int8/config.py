"""Keys of int8."""

from __future__ import annotations

from pydantic import Field

from swift.infer.quantize.config import CalibratedConfig, Damping, Rounding


class Int8Config(CalibratedConfig):
    """export: int8 weights with a scale for each row, int8 inputs with one for each token (W8A8)."""

    rounding: Rounding = Field(
        "gptq", description="gptq: corrected by calibration data; nearest: plain rounding without data"
    )
    damping: Damping = 0.01
    smoothing: float = Field(
        0.5,
        ge=0,
        le=1,
        description="how much of the spread of inputs moves into weights (SmoothQuant's alpha); 0: off",
    )
