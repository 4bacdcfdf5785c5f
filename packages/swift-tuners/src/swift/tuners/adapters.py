"""Finding adapters in folders, and what they were trained on; loads neither torch nor peft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from swift.core.config.schema import LoopConfig, ModelConfig
from swift.core.errors import ModelError
from swift.core.types import Head

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
OWN_CONFIG = "swift_adapter.json"  # of methods that peft does not have
OWN_WEIGHTS = "swift_adapter.safetensors"
WEIGHTS = (ADAPTER_WEIGHTS, OWN_WEIGHTS)
CONFIGS = (ADAPTER_CONFIG, OWN_CONFIG)
RUN_FILE = "run.json"
DEFAULT_SEED = LoopConfig.model_fields["seed"].default


def find_adapter(directory: Path) -> Path:
    """The folder itself, the adapter right below it, or the one in its newest checkpoint.

    Raises:
        ModelError: there is none, or several that are no checkpoints.
    """
    if not directory.is_dir():
        raise ModelError(
            f"{str(directory)!r} is not a folder", "name an adapter, or the output folder of a run"
        )
    if any((directory / name).is_file() for name in CONFIGS):
        return directory
    found = sorted({path.parent for name in CONFIGS for path in directory.glob(f"*/{name}")})
    final = [path for path in found if not path.name.startswith("checkpoint-")]
    if len(final) > 1:
        names = ", ".join(path.name for path in final)
        raise ModelError(f"{str(directory)!r} holds several adapters: {names}", "name one of them")
    if final:
        return final[0]
    if found:
        return max(found, key=_step)
    if (directory / "config.json").is_file():
        raise ModelError(
            f"{str(directory)!r} holds a whole model and no adapter",
            "use it as it is: there is nothing to merge",
        )
    raise ModelError(
        f"{str(directory)!r} holds no adapter ({' or '.join(CONFIGS)})",
        "name an adapter, or the output folder of a run",
    )


def adapter_config(adapter: Path) -> dict[str, Any]:
    """What an adapter's folder says of it, in peft's words or in ours.

    Raises:
        ModelError: there is no such file, or it cannot be read.
    """
    return read_json(next((adapter / name for name in CONFIGS if (adapter / name).is_file()), adapter))


def run_record(adapter: Path) -> dict[str, Any] | None:
    """run.json of the run that an adapter is from; None: it stands alone.

    Raises:
        ModelError: it cannot be read.
    """
    path = adapter.parent / RUN_FILE
    return read_json(path) if path.is_file() else None


def base_model_id(adapter: Path) -> str:
    """The base model that an adapter names.

    Raises:
        ModelError: it names none, or its configuration cannot be read.
    """
    base = adapter_config(adapter).get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{str(adapter)!r} does not name its base model", "name it with --model")
    return str(base)


def base_model(adapter: Path, model_id: str | None = None) -> tuple[ModelConfig, int]:
    """How the base of an adapter was loaded, and the seed of its weights if it is a tiny model.

    A run leaves both in run.json beside its adapter; otherwise the adapter's own word for its base counts.

    Args:
        model_id: another base than the recorded one.

    Raises:
        ModelError: nothing names the base, or what does cannot be read.
    """
    record = run_record(adapter)
    if record is None:
        return ModelConfig(model_id=model_id or base_model_id(adapter)), DEFAULT_SEED
    recorded = ModelConfig.model_validate(record["config"]["model"])
    return recorded.model_copy(update={"model_id": model_id or base_model_id(adapter)}), int(record["seed"])


def adapter_head(adapter: Path) -> Head | None:
    """The output that the base of an adapter is loaded with; None for next-token logits.

    Raises:
        ModelError: the adapter's files cannot be read, or a classification head is missing in them.
    """
    task = adapter_config(adapter).get("task_type")
    if task == "FEATURE_EXTRACTION":
        return Head("embedding")
    if task != "SEQ_CLS":
        return None
    settled = (run_record(adapter) or {"data": {}})["data"].get("objective", {})
    weights = next((adapter / name for name in WEIGHTS if (adapter / name).is_file()), adapter)
    return Head("classification", _labels(weights), settled.get("problem_type"))


def _labels(weights: Path) -> int:
    """Rows of the last layer of the saved classification head."""
    try:
        with safe_open(weights, framework="np") as tensors:
            heads = [
                name
                for name in tensors.keys()  # noqa: SIM118 (not a mapping)
                if name.endswith(("score.weight", "classifier.weight", "out_proj.weight"))
                and ".layers." not in name
            ]
            if heads:
                return int(tensors.get_slice(heads[-1]).get_shape()[0])
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{str(weights)!r} cannot be read: {error}") from error
    raise ModelError(
        f"{str(weights)!r} holds no classification head", "train it with swift, or save it whole"
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{str(path)!r} cannot be read: {error}") from error
    return content


def _step(checkpoint: Path) -> int:
    digits = checkpoint.name.removeprefix("checkpoint-")
    return int(digits) if digits.isdigit() else -1
