"""Registration that happens as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from swift.core.registry import REGISTRIES, Component

Registered = list[tuple[str, Component]]
"""(kind, component) of everything that one plugin brought."""


@contextmanager
def registering(replaces: Registered = []) -> Iterator[Registered]:  # noqa: B006 (never changed)
    """Collect what is registered inside this block; an exception leaves every registry as it was.

    Args:
        replaces: forgotten first: an older version of the same plugin.

    Yields:
        A list that is filled when the block ends.
    """
    before = {kind: registry.registered() for kind, registry in REGISTRIES.items()}
    added: Registered = []
    try:
        for kind, component in replaces:
            REGISTRIES[kind].unregister(component.name)
        yield added
    except BaseException:
        for kind, registry in REGISTRIES.items():
            registry.restore(before[kind])
        raise
    kept = {id(component) for components in before.values() for component in components.values()}
    added += [
        (kind, component)
        for kind, registry in REGISTRIES.items()
        for component in registry.registered().values()
        if component.place and id(component) not in kept
    ]
