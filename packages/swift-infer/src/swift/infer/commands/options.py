"""Short options that stand for configuration keys."""

from __future__ import annotations

from typing import Any

import click

SHORT = {
    "model": ("model.model_id", "model folder, hub id, short name or tiny/NAME"),
    "adapter": ("model.adapter", "adapter folder, or the output folder of a run"),
    "engine": ("infer.engine", "who generates"),
    "max-new-tokens": ("infer.max_new_tokens", "longest answer, in tokens"),
    "temperature": ("infer.temperature", "0: greedy"),
    "system": ("infer.system", "system message"),
    "seed": ("infer.seed", "seed of the sampling"),
    "host": ("infer.host", "address to listen on"),
    "port": ("infer.port", "port to listen on; 0: any free one"),
    "served-model-name": ("infer.served_model_name", "model name in the API"),
}


def options(*names: str) -> list[click.Parameter]:
    """Click options; each is short for the key it names."""
    return [click.Option([f"--{name}"], help=f"{SHORT[name][1]}  [{SHORT[name][0]}]") for name in names]


def as_overrides(values: dict[str, Any]) -> list[str]:
    """The overrides that the given short options stand for; the value is YAML, or JSON text for words."""
    import json

    overrides = []
    for name, value in values.items():
        key, _ = SHORT[name.replace("_", "-")]
        if value is not None:
            words = key in ("infer.system", "infer.served_model_name", "model.model_id", "model.adapter")
            overrides.append(f"{key}={json.dumps(value, ensure_ascii=False) if words else value}")
    return overrides
