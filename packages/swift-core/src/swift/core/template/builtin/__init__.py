"""Chat templates that come with the package: one jinja file each, named by `model.chat_template`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from swift.core.errors import ModelError, did_you_mean


def template_names() -> list[str]:
    """The built-in names."""
    return sorted(
        item.name.removesuffix(".jinja") for item in files(__name__).iterdir() if item.name.endswith(".jinja")
    )


def chat_template(name: str, folder: Path | None = None) -> str:
    """The jinja source of a built-in template or of a file.

    Args:
        name: built-in name, or a path, looked up in the working directory, then in folder.

    Raises:
        ModelError: neither exists.
    """
    if name in template_names():
        return (files(__name__) / f"{name}.jinja").read_text(encoding="utf-8")
    candidates = [Path(name).expanduser(), *([folder / name] if folder is not None else [])]
    for candidate in candidates:
        if candidate.is_file():
            return candidate.read_text(encoding="utf-8")
    looked = " and ".join(repr(str(candidate.absolute())) for candidate in candidates)
    raise ModelError(
        f"chat template {name!r} is neither built in nor a file (looked for {looked})",
        did_you_mean(name, template_names()),
    )
