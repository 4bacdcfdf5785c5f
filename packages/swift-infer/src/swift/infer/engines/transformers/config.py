"""Keys of the embedded engine."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from swift.core.config.schema import Config


class TransformersEngineConfig(Config):
    """infer: the embedded engine."""

    max_running: PositiveInt = Field(
        default=256, description="most sequences generated together; the others wait"
    )
    max_batch_tokens: PositiveInt = Field(
        default=2048,
        description="most prompt tokens read between two decoding steps; longer prompts are read in chunks",
    )
    kv_tokens: PositiveInt = Field(
        default=262_144,
        description="most tokens of keys and values held at once, the room for running answers included",
    )
    prefix_tokens: NonNegativeInt = Field(
        default=16_384,
        description="most prompt tokens whose keys and values are kept for prompts that begin alike; 0: none",
    )
    paged: bool = Field(
        default=True,
        description="float32 on a CPU: keep keys and values in pages: no answer pays for a longer one",
    )
    prepare_seconds: PositiveFloat = Field(
        default=60.0, description="most time that a request's constraint and images may take to be read"
    )
