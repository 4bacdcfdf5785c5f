"""Quantised weights that vLLM takes and then fails at, refused before it is started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swift.core.errors import EngineError

MERGE = "merge the adapter into the weights (swift merge), or use infer.engine=transformers"
EMBEDDED = "the transformers engine reads them: infer.engine=transformers"


def check_format(folder: Path, *, on_cpu: bool) -> None:
    """Raises EngineError for weights that vLLM cannot read here; it names an engine that can."""
    if not (folder / "config.json").is_file() and any(folder.glob("*.gguf")):
        raise EngineError(
            f"vLLM cannot read {str(folder)!r}: it holds a GGUF file and no config.json",
            "llama.cpp reads it; export the model in another format for vLLM",
        )
    lacking = _without_kernel(quantisation(folder)) if on_cpu else ""
    if lacking:
        raise EngineError(
            f"vLLM on CPU cannot compute with the weights of {str(folder)!r}: they are {lacking} "
            "of compressed-tensors",
            f"{EMBEDDED}; vLLM on CPU takes W8A8, FP8_DYNAMIC and W4A16",
        )


def quantisation(folder: Path) -> dict[str, Any]:
    """quantization_config of config.json; empty for plain weights.

    Raises:
        EngineError: the file cannot be read.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("quantization_config")
    except (OSError, ValueError) as error:
        raise EngineError(f"{str(path)!r} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def _without_kernel(quantised: Mapping[str, Any]) -> str:
    """The scheme of compressed-tensors that vLLM has no kernel for on CPU, or nothing."""
    if quantised.get("quant_method") != "compressed-tensors":
        return ""
    for group in (quantised.get("config_groups") or {}).values():
        weights = group.get("weights") or {}
        bits, kind = weights.get("num_bits"), weights.get("type")
        if bits == 4 and kind == "float":
            return "4-bit float weights (NVFP4)"
        if bits == 8 and kind == "int" and group.get("input_activations") is None:
            return "8-bit weights alone (W8A16)"
    return ""
