"""Words of a command line."""

from __future__ import annotations

from typing import Any


def option(flag: str, value: Any) -> list[str]:
    """A flag with its value; nothing for None."""
    return [] if value is None else [flag, str(value)]
