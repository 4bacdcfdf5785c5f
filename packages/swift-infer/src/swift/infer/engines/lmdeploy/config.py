"""Keys of LMDeploy."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from swift.infer.engines.process.config import ServerProcessConfig


class LmdeployEngineConfig(ServerProcessConfig):
    """infer: LMDeploy."""

    max_running: int | None = Field(
        default=None, gt=0, description="most sequences generated together; default: LMDeploy's own choice"
    )
    max_length: PositiveInt | None = Field(
        default=None, description="longest prompt and answer together, in tokens; default: the model's own"
    )
    gpu_memory_utilization: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of the GPU memory that the weights leave free, for keys and values; default: 0.8",
    )
    tensor_parallel_size: PositiveInt = Field(default=1, description="devices that share each layer")
