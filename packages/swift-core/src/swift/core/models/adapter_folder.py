"""What tells a folder with an adapter from others; loads neither torch nor peft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swift.core.errors import ModelError

CONFIGS = ("adapter_config.json", "swift_adapter.json")
"""peft's format, and that of methods that peft does not have."""
ANY_OF_PEFT = "lora"  # this tuner loads every adapter in peft's format


def adapter_file(folder: Path) -> Path | None:
    """The file that describes the adapter in a folder; None: there is no adapter right in it."""
    return next((folder / name for name in CONFIGS if (folder / name).is_file()), None)


def adapter_record(folder: Path) -> dict[str, Any]:
    """What that file says; base_model_name_or_path and task_type mean the same in both formats.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    path = adapter_file(folder)
    if path is None:
        raise ModelError(f"{str(folder)!r} holds no adapter ({' or '.join(CONFIGS)})")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error
    return record if isinstance(record, dict) else {}


def tuner_of(folder: Path) -> str:
    """Registered name of a tuner that loads the adapter in a folder.

    Raises:
        ModelError: there is none, or its file cannot be read.
    """
    return str(adapter_record(folder).get("method", ANY_OF_PEFT))
