"""Folders whose weights are quantised: how transformers is told to read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

COMPRESSED_TENSORS = "compressed-tensors"


def gguf_file(folder: Path) -> Path | None:
    """The GGUF file of a folder that has no other weights."""
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")):
        return None
    return next(iter(sorted(folder.glob("*.gguf"))), None)


def stored_options(
    folder: Path, architecture: PreTrainedConfig, device: torch.device | str
) -> dict[str, Any]:
    """Further arguments of from_pretrained: packed weights are placed as they are read."""
    if getattr(architecture, "quantization_config", None) is not None:
        return {"device_map": {"": device}}
    file = gguf_file(folder)
    return {} if file is None else {"gguf_file": file.name, "config": architecture}


def unpack(model: PreTrainedModel) -> None:
    """Unpack weights of compressed-tensors; by itself it would do so in the first call of the whole model.

    An engine may never make that call. Inputs are still quantised where the format says so.
    """
    stored = getattr(model.config, "quantization_config", None)
    if stored is None or quantization_method(stored) != COMPRESSED_TENSORS:
        return
    from compressed_tensors.compressors import decompress_module

    for layer in model.modules():
        decompress_module(layer)
    model.hf_quantizer.compressor.remove_decompression_hook(model)


def quantization_method(stored: Any) -> str:
    """quant_method of a config.json's quantization_config."""
    method = stored.get("quant_method", "") if isinstance(stored, dict) else stored.quant_method
    return str(getattr(method, "value", method))
