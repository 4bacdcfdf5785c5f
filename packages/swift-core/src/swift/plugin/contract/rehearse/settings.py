"""A component's own config object from plain arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from swift.core.registry import Component
from swift.plugin.contract.fault import fault


def component_settings(kind: str, component: Component, config: Mapping[str, Any]) -> Any:
    """What the run hands to it as its config; None for a component without one.

    Raises:
        PluginError: keys or values that its config does not allow.
    """
    if component.config is None:
        if config:
            raise fault(
                kind,
                component,
                f"has no config, and is given {dict(config)}",
                "register it with config=YourConfig, a pydantic model of its keys",
            )
        return None
    try:
        return component.config.model_validate(dict(config))
    except ValidationError as error:
        raise fault(kind, component, f"refuses {dict(config)}: {error}", "correct its arguments") from None
