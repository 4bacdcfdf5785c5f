"""Model folders that a server process reads: what they hold, and one with other weights."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf")


def takes_images(model: str) -> bool:
    """Whether a model folder's config.json describes a vision tower; False for what is no folder."""
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "vision_config" in config


def with_weights(base: Path, weights: Iterable[tuple[str, torch.Tensor]]) -> Path:
    """A new temporary folder of the same model with other weights; the caller's to delete.

    Configuration, tokenizer and code are links to those of the base.

    Raises:
        EngineError: weights that are not the model's, or not all of them.
    """
    from swift.infer.engines.process.weights import stored_shapes, write_weights

    folder = Path(tempfile.mkdtemp(prefix="swift-model-"))
    try:
        for path in base.iterdir():
            if not path.name.endswith(WEIGHTS):
                (folder / path.name).symlink_to(path.resolve())
        paths = write_weights(folder, weights, stored_shapes(base))
        _write_index(folder, paths)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _write_index(folder: Path, paths: Sequence[Path]) -> None:
    """Which file holds which weight, as transformers and the engines read it."""
    from safetensors import safe_open

    places: dict[str, str] = {}
    for path in paths:
        with safe_open(str(path), framework="pt") as file:
            places |= dict.fromkeys(file.keys(), path.name)
    total = sum(path.stat().st_size for path in paths)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
