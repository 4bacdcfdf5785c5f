"""The API key, from where it is kept."""

from __future__ import annotations

import os
from pathlib import Path

from swift.core.errors import EngineError
from swift.infer.engines.remote.config import RemoteEngineConfig


def api_key(config: RemoteEngineConfig) -> str:
    """The key that infer.api_key_env or infer.api_key_file names; empty when neither is set.

    Raises:
        EngineError: both are set, or the one named holds no key; the message never shows it.
    """
    if config.api_key_env and config.api_key_file:
        raise EngineError("infer.api_key_env and infer.api_key_file are both set", "leave one of them out")
    if config.api_key_env:
        return _checked(os.environ.get(config.api_key_env, ""), f"the variable {config.api_key_env!r}")
    if config.api_key_file:
        try:
            text = Path(config.api_key_file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EngineError(
                f"infer.api_key_file {config.api_key_file!r} cannot be read: {error}", "name a text file"
            ) from error
        return _checked(text, f"the file {config.api_key_file!r}")
    return ""


def _checked(text: str, place: str) -> str:
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise EngineError(f"{place} holds no API key (one word of ASCII letters, digits and signs)")
    return key
