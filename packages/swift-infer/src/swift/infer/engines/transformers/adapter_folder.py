"""A LoRA adapter as peft saves it, read into factors for the linear layers of one model.

Shapes: R rank, I input features, O output features.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from swift.core.errors import EngineError, ModelError
from swift.core.models.adapter_folder import adapter_record

WEIGHTS = "adapter_model.safetensors"
FACTOR = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
MERGE = "merge it into the model (swift merge) and serve the result"
STARTS_IN_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")  # these starts change the base's weights
BEYOND_LORA = {
    "use_dora": "it is DoRA, whose norms are no product of two factors",
    "modules_to_save": "it replaces whole modules",
    "lora_bias": "it has biases",
    "target_parameters": "it adapts stacked parameters",
    "trainable_token_indices": "it changes single embeddings",
    "layer_replication": "it repeats layers",
    "alora_invocation_tokens": "it starts in the middle of a prompt (aLoRA)",
    "use_qalora": "it is QA-LoRA",
}


@dataclass(slots=True, eq=False)
class Adapter:
    """One adapter; two of the same name are two.

    Attributes:
        factors: layer -> (A [R, I], B^T [R, O] with the scaling in it).
        base: the model that it was trained on, as its file says.
    """

    name: str
    factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    base: str = ""


def read_adapter(name: str, folder: Path, model: nn.Module) -> Adapter:
    """An adapter whose every factor fits a linear layer of the model.

    Raises:
        EngineError: it cannot be read, is more than LoRA beside linear layers, or belongs to another base.
    """
    config = _read_config(folder)
    reason = _more_than_lora(config)
    if reason:
        raise EngineError(
            f"adapter {str(folder)!r} cannot be applied to single rows of a batch: {reason}", MERGE
        )
    pairs = _pairs(_read_weights(folder), folder)
    base = str(config.get("base_model_name_or_path") or "")
    problems = list(_misfits(pairs, model))
    if problems:
        served = getattr(model, "name_or_path", "") or type(model).__name__
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise EngineError(
            f"adapter {str(folder)!r} does not fit {served!r}: {'; '.join(problems[:3])}{more}",
            f"load it on the base it was trained on{f', {base!r} by its record' if base else ''}",
        )
    factors = {
        layer: (a, b.T.contiguous() * _scaling(config, layer, len(a))) for layer, (a, b) in pairs.items()
    }
    return Adapter(name, factors, base)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        return adapter_record(folder)
    except ModelError as error:
        raise EngineError(error.problem, error.remedy or "name the folder of a LoRA adapter") from error


def _more_than_lora(config: Mapping[str, Any]) -> str:
    kind = str(config.get("peft_type") or config.get("method"))
    if kind != "LORA":
        return f"it is of type {kind}, not LORA"
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        return f"its task is {config['task_type']}"
    if config.get("bias", "none") != "none":
        return "it has biases"
    start = str(config.get("init_lora_weights"))
    if start.startswith(STARTS_IN_BASE):
        return f"it started as {start}, which changes the base's weights"
    return next((reason for key, reason in BEYOND_LORA.items() if config.get(key)), "")


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise EngineError(f"{str(folder)!r} has no {WEIGHTS}", "save the adapter in the safetensors format")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise EngineError(f"{str(path)!r} cannot be read: {error}", "save the adapter again") from error


def _pairs(tensors: Mapping[str, torch.Tensor], folder: Path) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer -> (A [R, I], B [O, R])."""
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = FACTOR.fullmatch(key)
        if match is None or tensor.dim() != 2:
            raise EngineError(
                f"adapter {str(folder)!r} holds {key!r} {list(tensor.shape)}, which is no factor of LoRA",
                MERGE,
            )
        sides.setdefault(match["layer"], {})[match["side"]] = tensor
    for layer, found in sides.items():
        if len(found) < 2 or len(found["A"]) != found["B"].shape[1]:
            raise EngineError(
                f"adapter {str(folder)!r} lacks a factor of layer {layer!r}, or its ranks differ",
                "save the adapter again",
            )
    if not sides:
        raise EngineError(f"adapter {str(folder)!r} holds no weight", "save the adapter again")
    return {layer: (found["A"], found["B"]) for layer, found in sides.items()}


def _misfits(pairs: Mapping[str, tuple[torch.Tensor, torch.Tensor]], model: nn.Module) -> Iterator[str]:
    """What of the adapter the model has no place for."""
    modules = dict(model.named_modules())
    for layer, (a, b) in pairs.items():
        module = modules.get(layer)
        if module is None:
            yield f"the model has no layer {layer!r}"
        elif not isinstance(module, nn.Linear):
            yield f"layer {layer!r} is a {type(module).__name__}, not a linear one"
        elif (module.in_features, module.out_features) != (a.shape[1], len(b)):
            yield (
                f"layer {layer!r} maps {module.in_features} features to {module.out_features}, "
                f"the adapter's {a.shape[1]} to {len(b)}"
            )


def _scaling(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """alpha / R, or alpha / sqrt(R) for rsLoRA; alpha_pattern sets alpha by the end of the layer's name."""
    alpha = float(config.get("lora_alpha", 8))
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            alpha = float(value)
            break
    divisor: float = rank**0.5 if config.get("use_rslora") else float(rank)
    return alpha / divisor
