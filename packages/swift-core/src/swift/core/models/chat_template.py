"""The chat template of a tokenizer that has none, or another one than its own."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from swift.core.errors import ModelError, did_you_mean


def read_chat_template(name: str) -> str:
    """Jinja source of a file, or of a built-in template by name.

    Raises:
        ModelError: neither exists.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path.read_text(encoding="utf-8")
    if path.suffix or len(path.parts) > 1:
        raise ModelError(
            f"chat template {name!r} does not exist", f"looked for the file {str(path.absolute())!r}"
        )
    built_in = {entry.name.removesuffix(".jinja"): entry for entry in _built_in()}
    if name not in built_in:
        raise ModelError(f"unknown chat template {name!r}", did_you_mean(name, built_in))
    return built_in[name].read_text(encoding="utf-8")


def _built_in() -> list[Traversable]:
    folder = resources.files("swift.core.template") / "builtin"
    return [entry for entry in folder.iterdir() if entry.name.endswith(".jinja")] if folder.is_dir() else []
