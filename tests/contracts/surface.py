"""The public surface as plain data: commands, configuration keys, components, exported names.

`python tests/contracts/surface.py --write` freezes it anew, for a change that is meant.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from swift.core.cli import GROUP
from swift.core.config.sections import SECTIONS, section_configs
from swift.core.registry import REGISTRIES

FROZEN = Path(__file__).with_name("public_surface.json")
MODULES = (
    "swift.core",
    "swift.plugin",
    "swift.trainers",
    "swift.tuners",
    "swift.parallel",
    "swift.rlhf",
    "swift.mm",
    "swift.infer",
    "swift.kernels",
)


def ours(group: str) -> list[Any]:
    """Entry points of a group that distributions of this repository offer."""
    return [
        entry for entry in entry_points(group=group) if entry.dist and entry.dist.name.startswith("swift-")
    ]


def surface() -> dict[str, Any]:
    """Everything a user or another package may rely on."""
    return {
        "commands": {entry.name: _command(entry.load()) for entry in sorted(ours(GROUP))},
        "config": {
            section: {heading: _keys(config) for heading, config in section_configs(section)}
            for section in SECTIONS
        },
        "components": {
            kind: sorted({entry.name for entry in ours(known.group)}) for kind, known in REGISTRIES.items()
        },
        "modules": {name: sorted(getattr(importlib.import_module(name), "__all__", [])) for name in MODULES},
    }


def _command(command: click.Command) -> list[str]:
    return [_parameter(parameter) for parameter in command.params]


def _parameter(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return f"argument {parameter.human_readable_name}{'' if parameter.required else '?'}"
    words = "/".join([*parameter.opts, *parameter.secondary_opts])
    if isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count):
        return f"{words} flag"
    kind = getattr(parameter.type, "choices", None) or parameter.type.name
    shown = "|".join(map(str, kind)) if not isinstance(kind, str) else kind
    needed = "required" if parameter.required else f"= {_plain(parameter.default)}"
    return f"{words} {shown} {needed}"


def _plain(value: Any) -> str:
    return "null" if value is None or "UNSET" in repr(value) else str(value)


def _keys(config: type[BaseModel]) -> dict[str, str]:
    return {name: f"{_type(field)} = {_default(field)}" for name, field in config.model_fields.items()}


def _type(field: FieldInfo) -> str:
    annotation = field.annotation
    name = (
        annotation.__name__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else str(annotation)
    )
    return name.replace("typing.", "").replace("NoneType", "None")


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else json.dumps(field.get_default(call_default_factory=True))


def as_text(found: dict[str, Any]) -> str:
    """One name a line, so that a difference reads itself."""
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Print the surface, or write it where the test looks for it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"write {FROZEN.name}")
    text = as_text(surface())
    if parser.parse_args().write:
        FROZEN.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
