"""Keys that engines share which run, or can run, as a server process."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from swift.core.config.schema import Config


class ServerProcessConfig(Config):
    """infer: how a server process is started, and over how many devices."""

    python: str | None = Field(
        default=None,
        description="interpreter that has the engine; default: its environment (swift engines install), "
        "or this one when it has the engine",
    )
    extra_args: list[str] = Field(
        default_factory=list, description="further words of the server's command line, passed as they are"
    )
    server_log: str | None = Field(
        default=None, description="file for the server's output; default: one in the temporary folder"
    )
    start_timeout: float = Field(
        default=600.0, gt=0, description="seconds within which the server must be ready"
    )
    timeout: float = Field(
        default=300.0, gt=0, description="seconds without a byte after which a request is given up"
    )
    tensor_parallel_size: PositiveInt = Field(default=1, description="devices that share each layer")


class OwnChoiceConfig(ServerProcessConfig):
    """infer: sizes that are the engine's own choice where they are left out."""

    max_running: int | None = Field(
        default=None, gt=0, description="most sequences generated together; default: the engine's own choice"
    )
    max_length: PositiveInt | None = Field(
        default=None, description="longest prompt and answer together, in tokens; default: the model's own"
    )
    gpu_memory_utilization: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of a GPU's memory for weights, keys and values; default: the engine's own choice",
    )


class AdapterRoomConfig(Config):
    """infer: how much room a server keeps for adapters."""

    max_loras: int | None = Field(
        default=None,
        ge=0,
        description="adapters that one batch may use, those loaded later included; default: as many as "
        "infer.adapters names. If there is room for one, roll-outs of a LoRA run send only the adapter",
    )
    max_lora_rank: PositiveInt | None = Field(
        default=None, description="greatest rank of an adapter; default: that of infer.adapters, at least 16"
    )
