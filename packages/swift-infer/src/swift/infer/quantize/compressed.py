"""Checkpoints in the format of compressed-tensors, which transformers and vLLM read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from swift.core.errors import ModelError
from swift.infer.quantize.grid import Grid

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


def library() -> Any:
    """compressed_tensors, imported when it is needed.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import compressed_tensors.compressors
        import compressed_tensors.quantization
    except ImportError as error:
        raise ModelError(
            f"compressed-tensors, whose format gptq, awq, fp8 and int8 write, is missing: {error}",
            "pip install 'swift-infer[quant]'",
        ) from error
    return compressed_tensors


def weight_scheme(grid: Grid, activations: bool = False) -> QuantizationScheme:
    """Integer weights on a grid; activations: int8 with a scale for each token, found while it runs."""
    types = library().quantization
    weights = types.QuantizationArgs(
        num_bits=grid.bits,
        type="int",
        symmetric=grid.symmetric,
        strategy="group" if grid.group_size else "channel",
        group_size=grid.group_size,
    )
    inputs = types.QuantizationArgs(num_bits=8, type="int", symmetric=True, strategy="token", dynamic=True)
    return _scheme(weights, inputs if activations else None)


def float8_scheme() -> QuantizationScheme:
    """FP8 (E4M3) weights with a scale for each row; inputs with one for each token, found while it runs."""
    args = library().quantization.QuantizationArgs
    weights = args(num_bits=8, type="float", symmetric=True, strategy="channel")
    return _scheme(weights, args(num_bits=8, type="float", symmetric=True, strategy="token", dynamic=True))


def _scheme(weights: Any, inputs: Any) -> QuantizationScheme:
    scheme: QuantizationScheme = library().quantization.QuantizationScheme(
        targets=["Linear"], weights=weights, input_activations=inputs
    )
    return scheme


def attach(layer: nn.Linear, scale: Tensor, zero: Tensor, scheme: QuantizationScheme) -> None:
    """Tell compressed-tensors the scale and zero [R, G] of a layer whose weight is on that grid."""
    types = library().quantization
    types.initialize_module_for_quantization(layer, scheme)
    _set(layer, "weight_scale", scale)
    _set(layer, "weight_zero_point", zero)
    # compressed-tensors keeps it on the layer, where torch's types allow nothing but tensors and modules
    layer.quantization_status = types.QuantizationStatus.FROZEN  # type: ignore[assignment]


def _set(layer: nn.Module, name: str, value: Tensor) -> None:
    parameter: Tensor = getattr(layer, name)
    parameter.data.copy_(value.reshape(parameter.shape))


def save_compressed(model: Any, folder: Path, max_shard_size: str) -> None:
    """Pack the weights of layers that attach() has seen, and write a transformers folder."""
    compressors, types = library().compressors, library().quantization
    writer = compressors.ModelCompressor.from_pretrained_model(model)
    for layer in model.modules():  # what writer.compress_model() does, without its progress bar
        compressors.compress_module(layer)
    writer.quantization_config.quantization_status = types.QuantizationStatus.COMPRESSED
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    writer.update_config(str(folder))
