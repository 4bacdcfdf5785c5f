"""Keys that quantisation methods share."""

from __future__ import annotations

from swift.core.config.schema import Config


class QuantizerConfig(Config):
    """export: what every method reads."""
