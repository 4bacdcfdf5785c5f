"""Keys of LMDeploy."""

from __future__ import annotations

from pydantic import Field

from swift.infer.engines.process.config import OwnChoiceConfig


class LmdeployEngineConfig(OwnChoiceConfig):
    """infer: LMDeploy."""

    gpu_memory_utilization: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of the GPU memory that the weights leave free, for keys and values; default: 0.8",
    )
