"""The user's own parts: register them here, name them in YAML, list their files under `plugins:`."""

from swift.plugin.register import (
    register_callback,
    register_dataset,
    register_engine,
    register_loss,
    register_metric,
    register_objective,
    register_optimizer,
    register_reward,
    register_tuner,
)

__all__ = [
    "register_callback",
    "register_dataset",
    "register_engine",
    "register_loss",
    "register_metric",
    "register_objective",
    "register_optimizer",
    "register_reward",
    "register_tuner",
]
