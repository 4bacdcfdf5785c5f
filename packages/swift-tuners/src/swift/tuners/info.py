"""What an adapter's files say about it, read without torch: only the headers of its tensors are looked at."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from swift.core.errors import ModelError
from swift.tuners.adapters import (
    ADAPTER_WEIGHTS,
    OWN_CONFIG,
    WEIGHTS,
    adapter_config,
    find_adapter,
    run_record,
)

BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}  # others: 1
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
PICKLED = "adapter_model.bin"
PART = re.compile(r"\.(?:lora|ia3|vera|oft|boft|fourierft)_")  # where peft's part of a tensor's name begins
SHARED = "base_model"  # where peft keeps what all layers share, such as VeRA's projections
BLOCK = re.compile(r".*?\.\d+(?=\.)")
BOOKKEEPING = frozenset({
    "auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision",
    "target_modules", "modules_to_save", "task_type", "r", "lora_alpha", "version", "method", "config",
    "megatron_config", "megatron_core", "qalora_group_size",
})  # fmt: skip
"""Keys of the configuration that are shown by a name of their own, or say nothing about the method."""


@dataclass(frozen=True)
class Tensor:
    """A tensor as its file's header describes it."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.parameters * BYTES.get(self.dtype, 1)


@dataclass(frozen=True)
class AdapterInfo:
    """An adapter.

    Attributes:
        method: tuner that made it, as train.tuner_strategy calls it.
        base: model that it was trained on.
        rank, alpha: of methods that have them; several ranks where layers have their own.
        layers: layers of the base that it stands beside; of methods of our own, blocks.
        targets: the same by the last part of their names.
        whole: layers that were trained in full and are saved with it.
        settings: of the method, where they differ from off, empty and null.
        parameters: numbers saved.
        size: of them in bytes.
    """

    folder: Path
    method: str
    base: str | None
    task: str | None
    rank: list[int]
    alpha: float | None
    layers: int
    targets: list[str]
    whole: list[str]
    parameters: int
    size: int
    dtypes: list[str]
    settings: dict[str, Any] = field(default_factory=dict)


def adapter_info(directory: Path) -> AdapterInfo:
    """Describe an adapter, or the one in the output folder of a run.

    Raises:
        ModelError: there is none, or its files cannot be read.
    """
    folder = find_adapter(directory)
    config = adapter_config(folder)
    tensors = read_tensors(folder)
    own = config.get("config", config) if (folder / OWN_CONFIG).is_file() else config
    whole = sorted(own.get("modules_to_save") or [])
    places = adapted_layers(tensors, whole)
    return AdapterInfo(
        folder=folder,
        method=method_of(config, run_record(folder)),
        base=config.get("base_model_name_or_path"),
        task=config.get("task_type"),
        rank=ranks(config, own, tensors),
        alpha=own.get("lora_alpha"),
        layers=len(places),
        targets=sorted({last for place in places if not (last := place.rpartition(".")[2]).isdigit()}),
        whole=whole,
        parameters=sum(tensor.parameters for tensor in tensors),
        size=sum(tensor.size for tensor in tensors),
        dtypes=sorted({DTYPES.get(tensor.dtype, tensor.dtype.lower()) for tensor in tensors}),
        settings={key: value for key, value in own.items() if key not in BOOKKEEPING and _says(key, value)},
    )


def read_tensors(folder: Path) -> list[Tensor]:
    """Names, shapes and types of an adapter's tensors.

    Raises:
        ModelError: there is no file of them, or it cannot be read.
    """
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        pickled = (folder / PICKLED).is_file()
        raise ModelError(
            f"{str(folder)!r} describes an adapter and has no weights"
            + (f" but {PICKLED}, which only torch can read" if pickled else ""),
            f"load and save it with peft, which writes {ADAPTER_WEIGHTS}" if pickled else "save it again",
        )
    try:
        with safe_open(path, framework="np") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return [Tensor(name, tuple(view.get_shape()), view.get_dtype()) for name, view in views.items()]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}", "copy or save it again") from error


def method_of(config: dict[str, Any], record: dict[str, Any] | None) -> str:
    """The tuner by its registered name: as its run recorded it, else as its settings tell."""
    if record is not None and (known := record["config"].get("train", {}).get("tuner_strategy")):
        return str(known)
    if "method" in config:
        return str(config["method"])
    kind = str(config.get("peft_type", "unknown")).lower().replace("_tuning", "")
    return lora_variant(config) if kind == "lora" else kind


def lora_variant(config: dict[str, Any]) -> str:
    """Which of the methods that peft calls LORA: by its formula, then by how it started."""
    if config.get("use_dora"):
        return "dora"
    start = str(config.get("init_lora_weights", "")).partition("_niter_")[0]
    if start in ("pissa", "olora", "loftq", "eva", "lora_ga"):
        return start.replace("_", "-")
    return "rslora" if config.get("use_rslora") else "lora"


def ranks(config: dict[str, Any], own: dict[str, Any], tensors: list[Tensor]) -> list[int]:
    """The ranks of LoRA's products as they are in the file; of other methods, what they call so."""
    found = {tensor.shape[0] for tensor in tensors if ".lora_A." in tensor.name}
    if found:
        return sorted(found)
    named = [own[key] for key in ("r", "lora_rank", "rank") if isinstance(own.get(key), int)]
    return sorted(rank for rank in named[:1] if rank > 0 and config.get("peft_type") != "LORA")


def adapted_layers(tensors: list[Tensor], whole: list[str]) -> set[str]:
    """Full names of the base's layers that the tensors stand beside; of our own methods, of its blocks."""
    names = [tensor.name.removeprefix("base_model.model.") for tensor in tensors]
    beside = {PART.split(name)[0] for name in names if PART.search(name)} - {SHARED}
    blocks = {found[0] for name in names if (found := BLOCK.match(name))}
    inside = tuple(f".{name}." for name in whole)
    return {name for name in beside or blocks if not any(part in f".{name}." for part in inside)}


def _says(key: str, value: Any) -> bool:
    """Whether a setting is more than off, or the usual start."""
    return value not in (None, False, "", "none", [], {}) and not (key.startswith("init_") and value is True)
