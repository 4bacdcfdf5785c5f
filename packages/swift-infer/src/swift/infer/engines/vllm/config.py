"""Keys of vLLM."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from swift.infer.engines.process.config import AdapterRoomConfig, ServerProcessConfig


class VllmEngineConfig(ServerProcessConfig, AdapterRoomConfig):
    """infer: vLLM."""

    server: bool = Field(
        default=False,
        description="run vLLM as a server process of its own, from its own environment (`swift engines`), "
        "instead of in this one",
    )
    max_running: PositiveInt = Field(
        default=256, description="most sequences generated together; the others wait"
    )
    max_length: PositiveInt | None = Field(
        default=None,
        description="longest prompt and answer together, in tokens; default: what the model and the memory "
        "for keys and values allow",
    )
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, description="share of a GPU's memory for weights, keys and values"
    )
    kv_cache_gb: float | None = Field(
        default=None,
        gt=0,
        description="memory for keys and values, in GiB; default: what gpu_memory_utilization leaves, "
        "4 on CPU",
    )
    enforce_eager: bool | None = Field(
        default=None,
        description="run without compiled graphs: ready sooner, slower on GPUs; default: only on CPU",
    )
