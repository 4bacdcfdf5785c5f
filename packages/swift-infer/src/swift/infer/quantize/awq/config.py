"""Keys of AWQ."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from swift.infer.quantize.config import GroupedConfig


class AwqConfig(GroupedConfig):
    """export: AWQ."""

    symmetric: bool = Field(False, description="scale alone; false: scale and zero point")
    scale_steps: PositiveInt = Field(20, description="exponents between 0 and 1 tried for the scales")
    clip_steps: int = Field(
        10, ge=0, description="clipped ranges tried for each group, down to half of it; 0: no clipping"
    )
