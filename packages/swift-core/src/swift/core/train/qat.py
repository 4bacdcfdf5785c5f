"""Quantisation-aware training: weights learn to lie near the points of a grid of few bits.

    w' = s clamp(round(w / s), -2^(b-1), 2^(b-1) - 1),  s = 2 max|w| / (2^b - 1) for each group of a row

The forward pass computes with w', the gradient goes to w as if w' were w (straight-through; Bengio et al.,
2013). torchao computes it; saved weights are w, and rounding them to the nearest point is all that export
has left to do. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
Only Inference", 2018.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from swift.core.config.run import RunConfig
from swift.core.config.schema import LoopConfig
from swift.core.console import say
from swift.core.errors import ConfigError
from swift.core.models.layers import decoder_layers
from swift.core.train.arguments import trains_all_weights


@dataclass(frozen=True)
class Scheme:
    """What is rounded: weights to so many bits, and inputs to 8 with a scale for each token, or not at all.

    Attributes:
        group_size: weights of a row that share a scale; None: the whole row.
    """

    bits: int
    group_size: int | None
    rounds_inputs: bool


def scheme_of(loop: LoopConfig) -> Scheme | None:
    """train.qat: "int4" rounds weights, "int8-int4" inputs to int8 as well; None: it is off."""
    if loop.qat is None:
        return None
    inputs, _, weights = loop.qat.rpartition("-")
    bits = int(weights.removeprefix("int"))
    return Scheme(bits, None if bits == 8 else loop.qat_group_size, bool(inputs))


def check_qat(run: RunConfig) -> None:
    """Refuse what cannot be trained so, before anything is loaded.

    Raises:
        ConfigError: torchao is missing, or the run trains an adapter beside weights that stay as they are.
    """
    if run.loop.qat is None:
        return
    if importlib.util.find_spec("torchao") is None:
        raise ConfigError(
            f"train.qat={run.loop.qat} needs torchao, which is not installed",
            "pip install 'swift-infer[quant]', or torchao",
        )
    if not trains_all_weights(run):
        raise ConfigError(
            f"train.qat={run.loop.qat} moves the weights themselves, and train.tuner_strategy="
            f"{run.loop.tuner_strategy} leaves them as they are",
            "set train.tuner_strategy=full, or quantise afterwards: swift export --method gptq",
        )


def prepare_qat(model: nn.Module, scheme: Scheme) -> int:
    """Let the decoder's linear layers compute with rounded weights, in place; how many there are.

    Raises:
        ConfigError: the groups do not fill a layer's rows.
    """
    from torchao.quantization import quantize_
    from torchao.quantization.qat import QATConfig

    path, layers = decoder_layers(model)
    found = {name: layer for name, layer in layers.named_modules() if isinstance(layer, nn.Linear)}
    for name, layer in found.items():
        if scheme.group_size is not None and layer.in_features % scheme.group_size:
            raise ConfigError(
                f"layer {path}.{name} has {layer.in_features} inputs, which train.qat_group_size="
                f"{scheme.group_size} does not divide",
                f"choose a divisor of {layer.in_features}, such as 32 or 64",
            )
    chosen = set(found.values())
    config: Any = QATConfig(activation_config=_inputs(scheme), weight_config=_weights(scheme), step="prepare")
    quantize_(layers, config, filter_fn=lambda layer, _: layer in chosen)
    say(f"quantisation-aware: {len(found)} layers with weights of {scheme.bits} bits")
    return len(found)


def _weights(scheme: Scheme) -> Any:
    from torchao.quantization.qat import IntxFakeQuantizeConfig

    dtype = getattr(torch, f"int{scheme.bits}")
    if scheme.group_size is None:
        return IntxFakeQuantizeConfig(dtype, granularity="per_channel", is_symmetric=True)
    return IntxFakeQuantizeConfig(dtype, group_size=scheme.group_size, is_symmetric=True)


def _inputs(scheme: Scheme) -> Any:
    from torchao.quantization.qat import IntxFakeQuantizeConfig

    if not scheme.rounds_inputs:
        return None
    return IntxFakeQuantizeConfig(torch.int8, granularity="per_token", is_symmetric=False)
