"""Keys of SGLang."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from swift.infer.engines.process.config import ServerProcessConfig


class SglangEngineConfig(ServerProcessConfig):
    """infer: SGLang."""

    max_running: int | None = Field(
        default=None, gt=0, description="most sequences generated together; default: what the memory allows"
    )
    max_length: PositiveInt | None = Field(
        default=None, description="longest prompt and answer together, in tokens; default: the model's own"
    )
    gpu_memory_utilization: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of a GPU's memory for weights, keys and values; default: SGLang's own choice",
    )
    tensor_parallel_size: PositiveInt = Field(default=1, description="devices that share each layer")
    max_loras: int | None = Field(
        default=None,
        ge=0,
        description="adapters that one batch may use, those loaded later included; default: as many as "
        "infer.adapters names",
    )
    max_lora_rank: PositiveInt | None = Field(
        default=None, description="greatest rank of an adapter; default: that of infer.adapters, at least 16"
    )
    deterministic: bool = Field(
        default=False,
        description="generate the same whatever else runs beside it, which SGLang needs for seeds; slower",
    )
