"""How a saved model says which of its blocks are new; loads neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path

RECORD = "llamapro_blocks"
"""Key of config.json that lists the new blocks by their numbers; transformers leaves it alone."""


def is_expanded(directory: Path) -> bool:
    """Whether llamapro saved the model in this folder."""
    path = directory / "config.json"
    return path.is_file() and f'"{RECORD}"' in path.read_text(encoding="utf-8")
