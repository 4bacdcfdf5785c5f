"""Which format a model folder's weights are in, and which engines can read it; loads no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swift.core.errors import EngineError

EVERY_ENGINE = ("transformers", "vllm", "sglang", "lmdeploy")

READERS: dict[str, tuple[str, ...]] = {
    "plain": EVERY_ENGINE,
    "compressed-tensors": ("transformers", "vllm", "sglang"),
    "bitsandbytes": ("transformers", "vllm", "sglang"),
    "gguf": ("transformers",),
    "gptq": ("vllm", "sglang", "lmdeploy"),
    "awq": ("vllm", "sglang", "lmdeploy"),
    "fp8": EVERY_ENGINE,
    "torchao": ("transformers", "vllm", "sglang"),
}
"""format -> engines; `remote` is never asked, it loads no weights."""


@dataclass(frozen=True)
class StoredFormat:
    """How weights are stored.

    Attributes:
        name: a key of READERS, or what config.json calls it.
        described: in words, with the number of bits.
    """

    name: str
    described: str


def stored_format(folder: Path) -> StoredFormat:
    """The format of a model folder; a folder that says nothing of one is plain."""
    config = _config(folder)
    stored = config.get("quantization_config")
    if isinstance(stored, dict):
        name = str(stored.get("quant_method", "unknown")).lower()
        return StoredFormat(name, f"{name} ({_detail(stored)})" if _detail(stored) else name)
    if any(folder.glob("*.gguf")) and not any(folder.glob("*.safetensors")):
        return StoredFormat(
            "gguf", f"gguf ({', '.join(sorted(file.name for file in folder.glob('*.gguf')))})"
        )
    return StoredFormat("plain", "plain")


def readers(folder: Path) -> tuple[str, ...]:
    """Engines that can read a model folder, best first; of an unknown format, those that may."""
    return READERS.get(stored_format(folder).name, EVERY_ENGINE)


def check_readable(folder: Path, engine: str) -> None:
    """Refuse a format that the engine cannot read, before it starts.

    Raises:
        EngineError: the message names the engines that can.
    """
    if engine not in EVERY_ENGINE or not folder.is_dir():
        return
    able = readers(folder)
    if engine not in able:
        described = stored_format(folder).described
        raise EngineError(
            f"engine {engine!r} cannot read {str(folder)!r}: its weights are {described}",
            f"set infer.engine to {' or '.join(able)}, or export the model again with another export.method",
        )


def _detail(stored: dict[str, Any]) -> str:
    if stored.get("quant_method") == "compressed-tensors":
        return str(stored.get("format", ""))
    if stored.get("load_in_4bit"):
        return str(stored.get("bnb_4bit_quant_type", "4 bits"))
    bits = stored.get("bits")
    return "8 bits" if stored.get("load_in_8bit") else f"{bits} bits" if bits else ""


def _config(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
