"""The page that explains every configuration key, made from the configs themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from swift.core.config.sections import SECTIONS, section_configs


def config_help() -> str:
    """Every section, component and key with type, default and meaning."""
    lines = []
    for section in SECTIONS:
        lines.append(f"{section}:")
        for heading, config in section_configs(section):
            title = (config.__doc__ or "").strip().partition("\n")[0]
            lines.append(f"  # {heading} - {title}")
            lines.extend(f"  {line}" for line in _keys(config))
        lines.append("")
    return "\n".join(lines)


def _keys(config: type[BaseModel]) -> list[str]:
    lines = []
    for name, field in config.model_fields.items():
        default: Any = field.get_default(call_default_factory=True) if not field.is_required() else "required"
        shown = "null" if default is None or default is PydanticUndefined else default
        lines.append(f"{name}: {shown}".ljust(40) + f"# {_type(field.annotation)}; {field.description or ''}")
    return lines


def _type(annotation: Any) -> str:
    if isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("NoneType", "None")
