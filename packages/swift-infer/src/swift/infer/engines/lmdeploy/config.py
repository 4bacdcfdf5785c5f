"""Keys of LMDeploy."""

from __future__ import annotations

from swift.core.config.schema import Config


class LmdeployEngineConfig(Config):
    """infer: LMDeploy."""
