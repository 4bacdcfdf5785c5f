"""The user's own parts: register them here, name them in YAML, list their files under `plugins:`."""

from swift.plugin.register import (
    register_agent_format,
    register_callback,
    register_dataset,
    register_engine,
    register_filter,
    register_loss,
    register_loss_scale,
    register_metric,
    register_model,
    register_objective,
    register_optimizer,
    register_reward,
    register_rollout,
    register_scheduler,
    register_template,
    register_tuner,
)

__all__ = [
    "register_agent_format",
    "register_callback",
    "register_dataset",
    "register_engine",
    "register_filter",
    "register_loss",
    "register_loss_scale",
    "register_metric",
    "register_model",
    "register_objective",
    "register_optimizer",
    "register_reward",
    "register_rollout",
    "register_scheduler",
    "register_template",
    "register_tuner",
]
