"""What a sandboxed plugin may use."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt

from swift.core.config.schema import Config


class SandboxLimits(Config):
    """Limits of one plugin's process. Reaching one ends the call, or the process, never the run."""

    timeout: PositiveFloat = Field(30.0, description="seconds that one call may take")
    load_timeout: PositiveFloat = Field(
        120.0, description="seconds for the process to import torch, and for the plugin's file to be executed"
    )
    memory: PositiveInt = Field(
        4 * 2**30,
        description="bytes of address space beyond what the imports take, shared tensors included",
    )
    cpu_seconds: PositiveInt | None = Field(
        None, description="seconds of processor time that the plugin may use in all; none: no limit"
    )
    file_bytes: PositiveInt = Field(
        64 * 2**20, description="bytes that the plugin may keep in its scratch folder"
    )
    threads: PositiveInt = Field(
        1, description="threads of torch in the process; they start before the plugin's code does"
    )
