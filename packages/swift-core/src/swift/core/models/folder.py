"""What makes a folder a model folder; asked before anything is loaded from it."""

from __future__ import annotations

import json
from pathlib import Path

from swift.core.errors import ModelError, nearest
from swift.core.models.adapter_folder import adapter_file

WEIGHT_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLE_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def check_model_folder(folder: Path) -> Path:
    """The folder itself, when it holds a configuration.

    Raises:
        ModelError: the folder is missing, is a file, holds only an adapter, or has no config.json.
    """
    if not folder.exists():
        raise ModelError(f"model folder {str(folder)!r} does not exist", _siblings(folder))
    if not folder.is_dir():
        raise ModelError(
            f"model {str(folder)!r} is a file, not a folder", f"name its folder: {folder.parent}"
        )
    if (folder / "config.json").is_file():
        return folder
    if adapter_file(folder) is not None:
        raise ModelError(
            f"{str(folder)!r} holds an adapter, not a model",
            f"set model.adapter={folder} and model.model_id to its base",
        )
    found = sorted(path.name for path in folder.iterdir())
    listed = ", ".join(found[:20]) + (", ..." if len(found) > 20 else "")
    raise ModelError(
        f"{str(folder)!r} is not a model folder: it has no config.json",
        f"it holds: {listed or 'nothing'}",
    )


def missing_weights(folder: Path) -> list[str]:
    """Weight files that a snapshot should hold and does not; an interrupted download leaves some."""
    for name in WEIGHT_INDEXES:
        if (folder / name).is_file():
            shards = set(json.loads((folder / name).read_text(encoding="utf-8"))["weight_map"].values())
            return sorted(shard for shard in shards if not (folder / shard).is_file())
    if any((folder / name).is_file() for name in SINGLE_WEIGHTS):
        return []
    return [SINGLE_WEIGHTS[0]]


def _siblings(folder: Path) -> str:
    above = folder.absolute().parent
    if not above.is_dir():
        return f"{str(above)!r} does not exist either"
    names = sorted(path.name for path in above.iterdir() if path.is_dir())
    near = nearest(folder.name, names) or names[:5]
    return f"in {str(above)!r} there is: {', '.join(near)}" if near else f"{str(above)!r} holds no folders"
