"""From a base model and an adapter to a plain model folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from swift.core.config.schema import ModelConfig
from swift.core.models.heads import set_padding
from swift.core.models.load import load_config, load_model, load_processor, save_model
from swift.core.new_folder import new_folder
from swift.tuners.adapters import adapter_config, adapter_head, base_model, find_adapter, run_record
from swift.tuners.api import load_tuner, merge_tuner
from swift.tuners.info import method_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def merge_adapter(
    source: Path, output: Path, model_id: str | None = None, dtype: str = "auto", max_shard_size: str = "5GB"
) -> Path:
    """Write base + adapter as a transformers folder with its tokenizer.

    Args:
        source: adapter, or output folder of a run.
        output: new or empty folder; it appears complete or not at all.
        model_id: base model; default: the one that the adapter names.
        dtype: precision of the merged weights; auto: that of the base.
        max_shard_size: largest weight file.

    Raises:
        ModelError: adapter or base cannot be found, or they do not fit each other.
        CheckpointError: output holds something already, or cannot be written.
    """
    with new_folder(output) as folder:
        adapter = find_adapter(source)
        config, seed = base_model(adapter, model_id)
        processor = load_processor(config)
        head = adapter_head(adapter)
        base = load_model(config, dtype=_precision(config, dtype), device="cpu", seed=seed, head=head)
        if head is not None:
            set_padding(base, getattr(processor, "tokenizer", processor).pad_token_id)
        model = cast("PreTrainedModel", merge_tuner(load_tuner(base, adapter)))
        save_model(model, processor, folder, max_shard_size)
    return output


def merge_notes(adapter: Path, model_id: str | None = None) -> Iterator[str]:
    """How the merged model is another one than that which trained, line by line.

    Raises:
        ModelError: the adapter's files cannot be read.
    """
    config = adapter_config(adapter)
    trained_on = config.get("base_model_name_or_path")
    if model_id and trained_on and model_id != trained_on:
        yield f"note: the adapter was trained on {trained_on}, and merged into {model_id}"
    if method_of(config, run_record(adapter)) == "qlora":
        yield (
            "note: trained beside quantised weights, and merged into those of full precision, "
            "so that the logits differ by the quantisation"
        )


def _precision(config: ModelConfig, dtype: str) -> torch.dtype:
    if dtype == "auto":
        return load_config(config).dtype or torch.float32
    return cast(torch.dtype, getattr(torch, dtype))
