"""What is said of values that do not fit and of keys that nobody owns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from swift.core.config.document import Document
from swift.core.config.sections import CHOICES, SECTIONS, all_keys, component_configs
from swift.core.errors import ConfigError, did_you_mean, nearest
from swift.core.registry import Registry


def validated(config: type[BaseModel], values: Mapping[str, Any], section: str, document: Document) -> Any:
    try:
        return config.model_validate(dict(values))
    except ValidationError as error:
        lines = []
        for item in _told(error):
            keys = [str(part) for part in item["loc"] if not str(part).startswith("list[")]
            dotted = ".".join([section, *keys])
            place = document.place((section, *keys))
            what = _no_such_key(keys[-1]) if item["type"] == "extra_forbidden" else item["msg"]
            lines.append(f"{place}: '{dotted}' is {item['input']!r}: {what}")
        raise ConfigError("\n".join(lines), _describe(config, error)) from None


def _told(error: ValidationError) -> list[Any]:
    """Its items, without pydantic's word that a list of parts is not a single name."""
    every = error.errors()
    several = len({item["loc"][:1] for item in every}) < len(every)
    return [item for item in every if not (several and item["loc"][-1:] == ("str",))]


def _no_such_key(key: str) -> str:
    name, colon, value = key.partition(":")
    return "there is no such key" + (f"; put a space behind the colon: {name}: {value}" if colon else "")


def _describe(config: type[BaseModel], error: ValidationError) -> str:
    location = error.errors()[0]["loc"]
    field = config.model_fields.get(str(location[0])) if location else None
    return f"{location[0]}: {field.description}" if field is not None and field.description else ""


def remedy_for_section(section: str) -> str:
    owners = [name for name, keys in all_keys().items() if section in keys]
    if owners:
        return f"{section!r} is a key of section {' and '.join(repr(owner) for owner in owners)}"
    return did_you_mean(section, SECTIONS)


def remedy_for_key(section: str, key: str, owners: Mapping[str, str]) -> str:
    for choice in CHOICES.get(section, ()):
        claimants = _claimants(choice.registry, key)
        if claimants:
            return f"it belongs to '{section}.{choice.key}' {claimants}, which is not chosen here"
    elsewhere = [other for other, keys in all_keys().items() if other != section and key in keys]
    if elsewhere:
        return "did you mean " + " or ".join(f"'{other}.{key}'" for other in elsewhere) + "?"
    near = nearest(key, owners)
    if not near and (other := nearest(key, all_keys()[section], limit=1)):
        return f"did you mean {other[0]!r}? There, {remedy_for_key(section, other[0], owners)}"
    return did_you_mean(key, owners)


def _claimants(registry: Registry, key: str, listed: int = 3) -> str:
    """Components whose config has a key; first those that it was written for, not those that inherit it."""
    having = [(name, config) for name, config in component_configs(registry) if key in config.model_fields]
    names = [name for name, _ in sorted(having, key=lambda each: key not in each[1].__annotations__)]
    more = f" or {len(names) - listed} others" if len(names) > listed else ""
    return " or ".join(names[:listed]) + more
