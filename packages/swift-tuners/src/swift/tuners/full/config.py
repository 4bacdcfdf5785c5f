"""Settings of full fine-tuning: none yet."""

from swift.core.config.schema import Config


class FullConfig(Config):
    """train: every parameter trains."""
