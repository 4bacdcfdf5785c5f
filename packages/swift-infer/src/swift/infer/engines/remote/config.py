"""Keys of an OpenAI-compatible URL."""

from __future__ import annotations

from swift.core.config.schema import Config


class RemoteEngineConfig(Config):
    """infer: an OpenAI-compatible URL."""
