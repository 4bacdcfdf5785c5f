"""Keys of int8."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swift.infer.quantize.config import CalibratedConfig


class Int8Config(CalibratedConfig):
    """export: int8 weights with a scale for each row, int8 inputs with one for each token (W8A8)."""

    rounding: Literal["gptq", "nearest"] = Field(
        "gptq", description="gptq: corrected by calibration data; nearest: plain rounding without data"
    )
    damping: float = Field(
        0.01, gt=0, description="share of the mean diagonal added to the Hessian's diagonal"
    )
    smoothing: float = Field(
        0.5,
        ge=0,
        le=1,
        description="how much of the spread of inputs moves into weights (SmoothQuant's alpha); 0: off",
    )
