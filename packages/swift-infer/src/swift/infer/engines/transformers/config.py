"""Keys of the embedded engine."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt

from swift.core.config.schema import Config


class TransformersEngineConfig(Config):
    """infer: the embedded engine."""

    max_running: PositiveInt = Field(
        default=64, description="most sequences generated together; the others wait"
    )
    max_batch_tokens: PositiveInt = Field(
        default=2048,
        description="most prompt tokens read between two decoding steps; longer prompts are read in chunks",
    )
    kv_tokens: PositiveInt = Field(
        default=262_144,
        description="most tokens of keys and values held at once, the room for running answers included",
    )
    prepare_seconds: PositiveFloat = Field(
        default=60.0, description="most time that a request's constraint and images may take to be read"
    )
