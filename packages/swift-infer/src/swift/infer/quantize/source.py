"""The model that is exported: plain weights, with an adapter merged in; its folders stay as they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from swift.core.config.run import RunConfig
from swift.core.errors import CheckpointError, ModelError
from swift.core.models.adapter_folder import tuner_of
from swift.core.models.load import load_config, load_model, load_processor
from swift.core.models.stored import quantization_method
from swift.core.registry import tuners
from swift.infer.adapter_base import check_base

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COPIES = 2
"""Plain copies of the model that an export writes at most, one of them temporary."""


def load_source(run: RunConfig) -> tuple[PreTrainedModel, Any]:
    """(plain model on the CPU, its tokenizer or processor).

    Raises:
        ModelError: it cannot be loaded or merged, is quantised already, or the adapter is of another base.
    """
    stored = getattr(load_config(run.model), "quantization_config", None)
    if stored is not None:
        raise ModelError(
            f"{run.model.model_id!r} is quantised already ({quantization_method(stored)})",
            "export the model it was made from: rounding twice loses twice",
        )
    model = load_model(run.model, dtype=export_dtype(run), device="cpu", seed=run.loop.seed)
    if run.model.adapter is None:
        return model, load_processor(run.model)
    folder = Path(run.model.adapter)
    check_base(folder, load_config(run.model).to_dict(), run.model.model_id)
    tuner = tuners.build(tuner_of(folder))
    # tuners promise a module; what they merge into is the class that was loaded
    merged = cast("PreTrainedModel", tuner.merge(tuner.load(model, folder)))
    source = run.model
    if (folder / "tokenizer_config.json").is_file() and not hasattr(load_processor(source), "tokenizer"):
        source = run.model.model_copy(update={"tokenizer_id": str(folder), "revision": None})
    return merged.eval(), load_processor(source)


def export_dtype(run: RunConfig) -> torch.dtype:
    """export.dtype; auto: that of the model's configuration."""
    if run.export.dtype != "auto":
        return DTYPES[run.export.dtype]
    stated = load_config(run.model).dtype
    return stated if isinstance(stated, torch.dtype) else torch.float32


def plain_bytes(model: torch.nn.Module) -> int:
    """Size of the weights as they are; shared ones count once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def check_space(output: Path, needed: int) -> None:
    """Enough room beside the output for COPIES of the model.

    Raises:
        CheckpointError: there is not.
    """
    place = next(parent for parent in output.absolute().parents if parent.exists())
    free = shutil.disk_usage(place).free
    if free < COPIES * needed:
        raise CheckpointError(
            f"{str(place)!r} has {free / 1e9:.1f} GB free, the export may need {COPIES * needed / 1e9:.1f}",
            "free some space, or choose another export.output_dir",
        )
