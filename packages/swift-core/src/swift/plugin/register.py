"""Decorators that put a class or factory into a registry; one mechanism for every kind.

@register_reward("short")
def short(prompts, completions, **columns):
    return [-len(text) / 100 for text in completions]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from swift.core import registry
from swift.core.errors import PluginError
from swift.core.registry import Component, Registry
from swift.plugin.contract.signature import check_signature

if TYPE_CHECKING:
    from pydantic import BaseModel

Target = TypeVar("Target", bound=Callable[..., Any])


def _place(frame: FrameType) -> str:
    """Where the decorator stands, for errors about what it decorates."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _decorator(kind: Registry) -> Callable[..., Callable[[Target], Target]]:
    decorator = f"register_{kind.kind.replace(' ', '_')}"

    def register(
        name: str, *, config: type[BaseModel] | None = None, **attributes: Any
    ) -> Callable[[Target], Target]:
        if not isinstance(name, str) or not name:
            raise PluginError(
                f"@{decorator} got {getattr(name, '__name__', name)!r}, which is not a name in quotes",
                f'write @{decorator}("NAME") above the class or function',
            )

        def keep(target: Target) -> Target:
            summary = (target.__doc__ or "").strip().partition("\n")[0]
            place = _place(sys._getframe(1))
            component = Component(name, target, config, summary, tuple(attributes.items()), place)
            check_signature(kind.kind, component)
            kind.register(component)
            return target

        return keep

    register.__doc__ = f"""Put the decorated class or factory into the {kind.kind} registry.

        Args:
            name: how YAML calls it.
            config: pydantic model that owns its keys.
            attributes: facts about it, such as an objective's task.

        Raises:
            RegistryError: the name is taken, or a key is claimed differently.
            PluginError: the name is no string, or the signature does not fit the kind's contract.
        """
    return register


register_objective = _decorator(registry.objectives)
register_tuner = _decorator(registry.tuners)
register_engine = _decorator(registry.engines)
register_dataset = _decorator(registry.datasets)
register_reward = _decorator(registry.rewards)
register_loss = _decorator(registry.losses)
register_optimizer = _decorator(registry.optimizers)
register_metric = _decorator(registry.metrics)
register_callback = _decorator(registry.callbacks)
register_scheduler = _decorator(registry.schedulers)
register_template = _decorator(registry.templates)
register_model = _decorator(registry.models)
register_rollout = _decorator(registry.rollouts)
register_filter = _decorator(registry.filters)
register_agent_format = _decorator(registry.agent_formats)
register_loss_scale = _decorator(registry.loss_scales)
register_content_filter = _decorator(registry.content_filters)
