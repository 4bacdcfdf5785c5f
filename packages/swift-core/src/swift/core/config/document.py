"""YAML with a memory: every value knows the file and line it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from swift.core.errors import ConfigError

KeyPath = tuple[str, ...]


@dataclass(slots=True)
class Document:
    """Nested plain values and the place of each.

    Attributes:
        values: what the YAML says.
        places: key path -> "file:line" or "command line".
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[KeyPath, str] = field(default_factory=dict)

    def place(self, path: Sequence[str]) -> str:
        """Where a key, or the nearest key around it, was written."""
        for length in range(len(path), 0, -1):
            found = self.places.get(tuple(path[:length]))
            if found is not None:
                return found
        return "configuration"


def read_document(path: Path) -> Document:
    """Parse one YAML file.

    Raises:
        ConfigError: unreadable, not YAML, a key written twice, or not a mapping of sections.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"configuration file {str(path)!r} does not exist", f"looked in {Path.cwd()}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {str(path)!r} cannot be read: {error}") from error
    return parse_document(text, str(path))


def parse_document(text: str, name: str = "<string>") -> Document:
    """Parse YAML text; name is what errors call it."""
    document = Document()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        loader = yaml.SafeLoader("")
        if node is None:
            return document
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{name}:1: the file holds no sections", "write 'model:', 'data:', 'train:', ...")
        document.values = _walk(node, (), document, name, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from error
    return document


def _walk(node: yaml.Node, path: KeyPath, document: Document, name: str, loader: yaml.SafeLoader) -> Any:
    place = f"{name}:{node.start_mark.line + 1}"
    document.places.setdefault(path, place)
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)  # type: ignore[no-untyped-call]
    values: dict[str, Any] = {}
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))  # type: ignore[no-untyped-call]
        line = key_node.start_mark.line + 1
        if key in values:
            raise ConfigError(
                f"{name}:{line}: key {'.'.join((*path, key))!r} is written twice "
                f"(first at {document.places[(*path, key)]})",
                "remove one of the two",
            )
        document.places[(*path, key)] = f"{name}:{line}"
        values[key] = _walk(value_node, (*path, key), document, name, loader)
    return values


def override(document: Document, assignment: str) -> None:
    """Apply "section.key=value" in place; the value is read as YAML, so lists and numbers work.

    Raises:
        ConfigError: no "=", no section, or a key below a plain value.
    """
    key, separator, raw = assignment.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not separator or len(path) < 2 or not all(path):
        raise ConfigError(
            f"override {assignment!r} is not of the form section.key=value", "for example train.max_steps=20"
        )
    try:
        value = yaml.safe_load(raw) if raw else None
    except yaml.YAMLError:
        value = raw  # such as a path with a colon: take it literally
    values = document.values
    for part in path[:-1]:
        below = values.setdefault(part, {})
        if below is None:
            below = values[part] = {}
        if not isinstance(below, dict):
            raise ConfigError(f"override {assignment!r}: {part!r} holds a value, not keys")
        values = below
    values[path[-1]] = value
    document.places[path] = f"command line ({assignment})"
