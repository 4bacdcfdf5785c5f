"""Whether a LoRA adapter was trained on the model it is put on: factors may fit another one by chance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swift.core.errors import ModelError
from swift.core.models.adapter_folder import adapter_record

SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim",
)  # fmt: skip
"""What copies, merges and descendants of a base share; not the vocabulary, which may have grown."""


def check_base(folder: Path, served: Mapping[str, Any], name: str) -> None:
    """Refuse an adapter whose recorded base is of another architecture or size than the served model.

    A base that is not on this machine cannot be compared, and passes.

    Args:
        folder: of the adapter.
        served: the served model's config.json; empty: unknown.
        name: of the served model.

    Raises:
        ModelError: the record names another model, or cannot be read.
    """
    base = str(adapter_record(folder).get("base_model_name_or_path") or "")
    if not base:
        return
    differences = list(_differences(architecture(base), served))
    if differences:
        raise ModelError(
            f"adapter {str(folder)!r} was trained on another model: {base!r} by its record, "
            f"not {name!r} ({'; '.join(differences)})",
            f"serve it on {base!r}; if its record is wrong, correct base_model_name_or_path in it",
        )


def architecture(model_id: str) -> Mapping[str, Any]:
    """What config.json says of a folder, a tiny model, or a hub's model that is here; else nothing."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    from swift.core.config.schema import ModelConfig
    from swift.core.models.load import TINY, load_config

    if model_id.startswith(TINY):
        try:
            tiny: dict[str, Any] = load_config(ModelConfig(model_id=model_id)).to_dict()
        except ModelError:  # a tiny model of another version of ours
            return {}
        return tiny
    if Path(model_id).is_dir():
        return _read(Path(model_id) / "config.json")
    try:
        cached = try_to_load_from_cache(model_id, "config.json")
    except HFValidationError:  # a folder that is not here
        return {}
    return _read(Path(cached)) if isinstance(cached, str) else {}


def _differences(trained: Mapping[str, Any], served: Mapping[str, Any]) -> list[str]:
    one, other = _facts(trained), _facts(served)
    return [
        f"{key} {one[key]!r} and {other[key]!r}"
        for key in one.keys() & other.keys()
        if one[key] != other[key]
    ]


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Kind of model, and sizes of its text part, as far as they are told."""
    text = config.get("text_config")
    sizes = {**config, **(text if isinstance(text, Mapping) else {}), "model_type": config.get("model_type")}
    return {key: sizes[key] for key in ("model_type", *SIZES) if sizes.get(key) is not None}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
