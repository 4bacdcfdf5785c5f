"""An agent format: tools, calls and results there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swift.core.registry import Component
from swift.core.template.agent.build import check_agent_format
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.rehearse.call import Made


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, and what it writes comes back when it is read."""
    made = Made("agent format", component, config)
    yield "builds", made.build
    yield "there and back", lambda: check_agent_format(component, made.part)
