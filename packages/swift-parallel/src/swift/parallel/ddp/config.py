"""Settings of distributed data parallel training."""

from pydantic import Field, PositiveInt

from swift.core.config.schema import Config


class DdpConfig(Config):
    """device: one process per GPU, each with the whole model."""

    num_gpus: PositiveInt | None = Field(
        None,
        description="training processes on this machine: one a GPU, or on CPU (gloo) where there is none; "
        "default: every GPU",
    )
    ddp_timeout: PositiveInt = Field(
        1800, description="seconds a process waits for the others before it gives up"
    )
    ddp_find_unused_parameters: bool = Field(
        False,
        description="let a step leave parameters unused, such as a vision tower in a batch without images",
    )
