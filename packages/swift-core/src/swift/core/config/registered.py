"""Names of registered parts, refused where they were written when nothing has registered them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from swift.core.config.document import Document
from swift.core.config.named import Named, PartsOf
from swift.core.errors import RegistryError
from swift.core.registry import REGISTRIES


def check_registered(config: BaseModel, written: Mapping[str, Any], section: str, document: Document) -> None:
    """Look up every name below the keys whose type is marked with PartsOf.

    Args:
        written: the keys that the user wrote. A default may be a word of its own (auto).

    Raises:
        RegistryError: a name that nothing has registered, with its file and line.
    """
    for key in written:
        field = type(config).model_fields[key]
        kind = _kind(field)
        if kind is None or getattr(config, key) == field.default:
            continue
        for name in _names(getattr(config, key)):
            try:
                REGISTRIES[kind].get(name)
            except RegistryError as error:
                place = document.place((section, key))
                raise RegistryError(f"{place}: '{section}.{key}': {error.problem}", error.remedy) from None


def _kind(field: FieldInfo) -> str | None:
    return next((marker.kind for marker in field.metadata if isinstance(marker, PartsOf)), None)


def _names(value: str | Iterable[str | Named]) -> list[str]:
    items = [value] if isinstance(value, str) else list(value)
    return [item if isinstance(item, str) else item.name for item in items]
