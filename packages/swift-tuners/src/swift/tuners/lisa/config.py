"""Settings of LISA (arXiv 2403.17919)."""

from pydantic import Field, PositiveInt

from swift.core.config.schema import Config


class LisaConfig(Config):
    """train: a few layers at a time, and all outside of the layers always."""

    lisa_activated_layers: PositiveInt = Field(
        2, description="layers that train at a time, fewer than the model has (gamma of the paper)"
    )
    lisa_step_interval: PositiveInt = Field(
        20, description="optimiser steps after which other layers are drawn (K of the paper)"
    )
