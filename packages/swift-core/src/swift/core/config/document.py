"""YAML with a memory: every value knows the file and line it came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from swift.core.errors import ConfigError

KeyPath = tuple[str, ...]

SHORT_FOR = {"plugins": "load"}
"""Sections whose plain value is short for one of their keys: plugins: [a.py] says {load: [a.py]}."""


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-4 is a number (YAML 1.1 asks for 1.0e-4 and would keep the text)."""


_EXPONENT = re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))  # type: ignore[no-untyped-call]


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
        node = yaml.compose(text, Loader=_Loader)
        loader = _Loader("")
        if node is None:
            return document
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(
                f"{name}:1: the file holds no sections", "write 'model:', 'data:', 'train:', ..."
            )
        document.values = _walk(node, (), document, name, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:  # such as a control character
        raise ConfigError(f"{name}: not valid YAML: {error}") from error
    except RecursionError:
        raise ConfigError(
            f"{name}: nested without end", "an alias (*name) stands inside its own anchor (&name)"
        ) from None
    return document


def _walk(node: yaml.Node, path: KeyPath, document: Document, name: str, loader: _Loader) -> Any:
    place = f"{name}:{node.start_mark.line + 1}"
    document.places.setdefault(path, place)
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)  # type: ignore[no-untyped-call]
    _check_written_once(node, path, name, loader)
    loader.flatten_mapping(node)  # "<<" puts its keys first, so that the mapping's own ones win
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _key(key_node, loader)
        document.places[(*path, key)] = f"{name}:{key_node.start_mark.line + 1}"
        values[key] = _walk(value_node, (*path, key), document, name, loader)
    return values


def _check_written_once(node: yaml.MappingNode, path: KeyPath, name: str, loader: _Loader) -> None:
    lines: dict[str, int] = {}
    for key_node, _ in node.value:
        key, line = _key(key_node, loader), key_node.start_mark.line + 1
        if key in lines:
            raise ConfigError(
                f"{name}:{line}: key {'.'.join((*path, key))!r} is written twice, first at line {lines[key]}",
                "remove one of the two",
            )
        lines[key] = line


def _key(node: yaml.Node, loader: _Loader) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)  # as written: "on" is a name here, not a truth value
    return str(loader.construct_object(node, deep=True))  # type: ignore[no-untyped-call]


def override(document: Document, assignment: str) -> None:
    """Apply "section.key=value" in place; the value is read as YAML, so lists and numbers work.

    A section of SHORT_FOR needs no key: "plugins=mine.py" keeps its other keys, and
    "plugins={load: [...]}" replaces it.

    Raises:
        ConfigError: no "=", no section, or a key below a plain value.
    """
    key, separator, raw = assignment.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    whole = len(path) == 1 and path[0] in SHORT_FOR
    if not separator or not (len(path) > 1 or whole) or not all(path):
        raise ConfigError(
            f"override {assignment!r} is not of the form section.key=value", "for example train.max_steps=20"
        )
    try:
        value = yaml.load(raw, Loader=_Loader) if raw else None
    except yaml.YAMLError:
        value = raw  # such as a path with a colon: take it literally
    if isinstance(value, dict) and not raw.lstrip().startswith("{"):
        value = raw  # a sentence with a colon is not a mapping
    if whole and isinstance(value, str | list):
        path = (*path, SHORT_FOR[path[0]])
    values = document.values
    for part in path[:-1]:
        below = values.setdefault(part, {})
        if part in SHORT_FOR and isinstance(below, str | list):
            below = values[part] = {SHORT_FOR[part]: below}
        if below is None:
            below = values[part] = {}
        if not isinstance(below, dict):
            raise ConfigError(f"override {assignment!r}: {part!r} holds a value, not keys")
        values = below
    values[path[-1]] = value
    for below_path in [known for known in document.places if known[: len(path)] == path]:
        del document.places[below_path]  # what the file said there is gone
    document.places[path] = f"command line ({assignment})"
