"""Weights that bitsandbytes packs while transformers loads them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import BitsAndBytesConfig

from swift.core.errors import ModelError
from swift.infer.quantize.blocks import ignored
from swift.infer.quantize.job import Job


def save_through(
    job: Job, settings: Callable[[list[str]], BitsAndBytesConfig], ignore: Sequence[str]
) -> None:
    """Write the model plainly, load it quantised, write that.

    Args:
        settings: of loading, given the names of layers to leave alone.

    Raises:
        ModelError: bitsandbytes is missing or cannot run here.
    """
    chosen = settings(left_alone(job.model, ignore))
    with tempfile.TemporaryDirectory(dir=job.folder.parent, prefix=".plain.") as plain:
        job.model.save_pretrained(plain)
        quantised = _load(type(job.model), Path(plain), chosen, job)
    quantised.save_pretrained(job.folder, max_shard_size=job.max_shard_size)


def left_alone(model: nn.Module, ignore: Sequence[str]) -> list[str]:
    """Full names of linear layers that keep their precision; transformers takes a tied head for one, too."""
    linear = (name for name, layer in model.named_modules() if isinstance(layer, nn.Linear))
    return [name for name in linear if ignored(name, ignore)] or ["lm_head"]


def _load(model_class: Any, folder: Path, settings: BitsAndBytesConfig, job: Job) -> Any:
    try:
        return model_class.from_pretrained(
            folder,
            quantization_config=settings,
            dtype=job.model.dtype,
            device_map={"": job.device},
            local_files_only=True,
        )
    except ImportError as error:
        raise ModelError(
            f"bitsandbytes cannot be used: {error}", "pip install 'swift-infer[quant]'"
        ) from error
