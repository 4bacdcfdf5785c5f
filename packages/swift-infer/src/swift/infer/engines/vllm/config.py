"""Keys of vLLM."""

from __future__ import annotations

from swift.core.config.schema import Config


class VllmEngineConfig(Config):
    """infer: vLLM."""
