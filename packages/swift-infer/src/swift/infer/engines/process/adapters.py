"""What a server must know of adapters before it is started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swift.core.errors import EngineError

LEAST_RANK = 16  # room for ordinary adapters that are loaded later


def rank_of(folder: Path) -> int:
    """The greatest rank in an adapter folder.

    Raises:
        EngineError: its configuration cannot be read.
    """
    path = folder / "adapter_config.json"
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return max([int(record["r"]), *map(int, (record.get("rank_pattern") or {}).values())])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EngineError(f"{str(path)!r} is no configuration of a LoRA adapter: {error}") from error
