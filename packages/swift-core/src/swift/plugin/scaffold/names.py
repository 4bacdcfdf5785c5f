"""Names that a new plugin may have."""

from __future__ import annotations

import keyword
import sys

from swift.core.errors import ConfigError, RegistryError
from swift.core.registry import REGISTRIES


def check_name(kind: str, name: str) -> None:
    """Refuse what cannot be a module, function and registered name at once.

    Raises:
        ConfigError: no identifier, or the name of a module of Python.
        RegistryError: the name is taken.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii() or name.startswith("_"):
        raise ConfigError(
            f"{name!r} cannot name a plugin: it becomes a module and a function",
            "use letters, digits and underscores, a letter first, such as my_loss",
        )
    if name in sys.stdlib_module_names or name in ("swift", "torch", "transformers"):
        raise ConfigError(f"{name!r} is the name of a module that others import", "choose another name")
    registry = REGISTRIES[kind]
    if name in registry:
        brought_by = registry.distribution(name)
        raise RegistryError(
            f"{kind} {name!r} exists already" + (f": {brought_by} brings it" if brought_by else ""),
            f"choose another name; taken: {', '.join(registry.names())}",
        )


def class_name(name: str) -> str:
    """my_loss -> MyLoss."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_") if word)
