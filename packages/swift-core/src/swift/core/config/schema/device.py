"""device: where training runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swift.core.config.base import Config


class DeviceConfig(Config):
    """device: where training runs."""

    parallel_method: str | None = Field(None, description="ddp, ...; default: one process")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU when there is one")
