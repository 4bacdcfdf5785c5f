"""Keys of SGLang."""

from __future__ import annotations

from pydantic import Field

from swift.infer.engines.process.config import AdapterRoomConfig, OwnChoiceConfig


class SglangEngineConfig(OwnChoiceConfig, AdapterRoomConfig):
    """infer: SGLang."""

    deterministic: bool = Field(
        default=False,
        description="generate the same whatever else runs beside it, which SGLang needs for seeds; slower",
    )
