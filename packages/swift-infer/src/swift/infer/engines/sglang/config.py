"""Keys of SGLang."""

from __future__ import annotations

from swift.core.config.schema import Config


class SglangEngineConfig(Config):
    """infer: SGLang."""
