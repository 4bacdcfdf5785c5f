"""`swift plugin list`: every registered name."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

    from swift.core.registry import Component, Registry


@dataclass(frozen=True)
class Line:
    """What is shown of one name.

    Attributes:
        package: the distribution that offers it, or the file that registered it.
        signature: empty where it is not known without importing the implementation.
    """

    kind: str
    name: str
    package: str
    signature: str
    trust: str
    summary: str


@click.command("list")
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--kind", help="Only this kind, for example loss.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list instead of a table.")
@click.option("--signatures", is_flag=True, help="Import every part to show its signature (slow).")
@click.option("--sandboxed", is_flag=True, help="Load the files as trust: sandboxed does.")
def command(
    files: tuple[str, ...], kind: str | None, as_json: bool, signatures: bool, sandboxed: bool
) -> None:
    """Show every registered name: kind, name, package or file, signature, trust and what it is.

    FILEs are plugins to load first.
    """
    from swift.core.errors import RegistryError, did_you_mean
    from swift.core.registry import REGISTRIES

    if files:
        from swift.plugin.testing import load_files

        load_files(files, "sandboxed" if sandboxed else "trusted")
    kind = kind.replace("_", " ").replace("-", " ") if kind else None
    if kind is not None and kind not in REGISTRIES:
        raise RegistryError(f"there is no kind {kind!r}", did_you_mean(kind, REGISTRIES))
    chosen = [REGISTRIES[kind]] if kind else list(REGISTRIES.values())
    lines = [describe(registry, name, signatures) for registry in chosen for name in registry.names()]
    click.echo(_json(lines) if as_json else table(lines))


def describe(registry: Registry, name: str, signatures: bool) -> Line:
    """One name; a package that is broken says so in its own line."""
    from swift.core.errors import RegistryError

    package = registry.distribution(name) or ""
    try:
        component = registry.get(name)
        signature = signature_of(component, signatures)
    except RegistryError as error:
        return Line(registry.kind, name, package, "", "trusted", f"cannot be loaded: {error.problem}")
    package = package or component.place or str(getattr(component.target, "__module__", ""))
    return Line(registry.kind, name, package, signature, component.trust, component.summary)


def signature_of(component: Component, load: bool) -> str:
    """Its arguments in YAML: the fields of its config, or the parameters of its implementation."""
    if component.config is not None:
        return _fields(component.config)
    if isinstance(component.target, str) and not load:
        return ""
    try:
        return str(inspect.signature(component.load()))
    except (TypeError, ValueError):
        return "(...)"  # code in C++


def _fields(config: type[BaseModel]) -> str:
    return f"({', '.join(_field(name, field) for name, field in config.model_fields.items())})"


def _field(name: str, field: Any) -> str:
    return name if field.is_required() else f"{name}={field.get_default(call_default_factory=True)!r}"


def _json(lines: list[Line]) -> str:
    import json

    return json.dumps([asdict(line) for line in lines], indent=1)


def table(lines: list[Line]) -> str:
    """Aligned columns; the signature goes below its line, since it may be long."""
    if not lines:
        return "nothing is registered"
    rows = [("kind", "name", "package", "trust", "summary")]
    rows += [(line.kind, line.name, line.package, line.trust, line.summary) for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in rows]
    shown = [f"{left}  {row[4]}".rstrip() for left, row in zip(shown, rows, strict=True)]
    below = ["", *(f"    {line.name}{line.signature}" if line.signature else "" for line in lines)]
    return "\n".join(text for pair in zip(shown, below, strict=True) for text in pair if text)
