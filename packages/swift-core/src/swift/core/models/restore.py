"""Weights of a plain transformers folder back into a model that is there already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def restore_renamed(model: PreTrainedModel, folder: Path) -> bool:
    """Copy weights that transformers stores under other names than the model has, such as stacked experts.

    save_pretrained() translates some architectures into the names of their published files, from_pretrained()
    translates them back, and load_state_dict() knows of neither.

    Returns:
        Whether there was something to translate; nothing is done otherwise.

    Raises:
        OSError, ValueError, RuntimeError: the files are damaged, or of another architecture.
    """
    if saved_names(folder) <= model.state_dict().keys():
        return False
    saved = type(model).from_pretrained(folder, dtype=model.dtype, local_files_only=True)
    model.load_state_dict(saved.state_dict())
    return True


def saved_names(folder: Path) -> set[str]:
    """Names of the tensors in the safetensors files of a folder; empty where it has none."""
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if index.is_file():
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    if not (folder / SAFE_WEIGHTS_NAME).is_file():
        return set()
    with safe_open(folder / SAFE_WEIGHTS_NAME, framework="np") as tensors:
        return set(tensors.keys())
