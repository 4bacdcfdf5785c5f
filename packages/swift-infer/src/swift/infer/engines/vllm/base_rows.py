"""An adapter of zeros for the requests that ask for none, on CPU.

vLLM's CPU kernels give each token the factors at the index of its adapter, and -1 to tokens without one,
which in torch is the last adapter: beside requests with adapters, those without would be answered with one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from swift.infer.engines.process.weights import Shapes

WEIGHT = ".weight"


def zero_adapters(shapes: Shapes) -> Iterator[Path]:
    """Folders of LoRA adapters that do nothing, one for each kind of layer, until one is taken.

    Which kinds vLLM adapts depends on the architecture, and attention is named first in most.

    Args:
        shapes: names and shapes of the model's weights.
    """
    tried: set[str] = set()
    for name, shape in sorted(shapes.items(), key=lambda item: "attn" not in item[0]):
        kind = name.removesuffix(WEIGHT).rpartition(".")[2]
        if name.endswith(WEIGHT) and len(shape) == 2 and kind not in tried:
            tried.add(kind)
            yield _written(name.removesuffix(WEIGHT), kind, shape)


def _written(layer: str, kind: str, shape: tuple[int, ...]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="swift-adapter-"))
    record = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [kind], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(record), encoding="utf-8")
    factors = {
        f"base_model.model.{layer}.lora_A.weight": torch.zeros(1, shape[1]),
        f"base_model.model.{layer}.lora_B.weight": torch.zeros(shape[0], 1),
    }
    save_file(factors, folder / "adapter_model.safetensors")
    return folder
